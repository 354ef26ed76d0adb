#!/bin/bash
# A container's health: HOST PORT PATH answers 200, and with a further word the body holds it. No Python: it runs all day.
exec 3<>"/dev/tcp/$1/$2" || exit 1
printf 'GET %s HTTP/1.0\r\nHost: %s:%s\r\n\r\n' "$3" "$1" "$2" >&3
answer=$(timeout 8 cat <&3)
[[ $answer == "HTTP/1."?" 200 "* && $answer == *"${4:-}"* ]]
