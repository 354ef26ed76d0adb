#!/bin/bash
# `make restore FROM=dir`: what `make backup` wrote, into a platform that is up and empty (FORCE=1: whatever it holds).
# Words: folder, compose.
set -euo pipefail
from=$1
compose=("${@:2}")

refuse() {
  printf 'restore: %s\n  do: %s\n' "$1" "$2" >&2
  exit 64
}
[[ -n $from ]] || refuse "no folder is named" "make restore FROM=/where/the/backup/is"
[[ -f $from/SHA256SUMS ]] || refuse "$from holds no whole backup" "name a folder that make backup wrote"
(cd "$from" && sha256sum --check --strict --quiet SHA256SUMS >&2) || refuse "$from is not what was written" "take another backup"
grep -E '^(AIRFLOW_FERNET_KEY|AIRFLOW_ADMIN_PASSWORD|MLFLOW_ADMIN_PASSWORD)=' .env | sort | sha256sum |
  cmp -s - "$from/env.sha256" || refuse "it belongs to another .env" "put back the .env of that time, then: make up"

id() { "${compose[@]}" ps -q "$1"; }
postgres=$(id postgres) scheduler=$(id airflow-scheduler) mlflow=$(id mlflow)
[[ -n $postgres && -n $scheduler && -n $mlflow ]] || refuse "the platform is not up" "make up"
sql() { docker exec "$postgres" psql -U postgres --no-psqlrc -v ON_ERROR_STOP=1 -qAt "$@"; }
held=$(sql -d airflow -c 'SELECT count(*) FROM dag_run')
files=$(docker exec "$scheduler" find /data -type f -print -quit)
[[ $held == 0 && -z $files || ${FORCE:-} == 1 ]] ||
  refuse "the platform holds $held runs, and its lake ${files:-no file}" "make down VOLUMES=1 && make up; or FORCE=1, which removes them"

users=$("${compose[@]}" config --services | grep -E '^(airflow-.*|mlflow|upstream)$')
# shellcheck disable=SC2086
"${compose[@]}" stop $users >/dev/null
for name in airflow mlflow mlflow_accounts; do
  sql -d postgres -c "DROP DATABASE $name WITH (FORCE)" -c "CREATE DATABASE $name OWNER ${name%_accounts}" \
    -c "REVOKE CONNECT ON DATABASE $name FROM PUBLIC"
  docker exec -i "$postgres" pg_restore -U postgres --exit-on-error -d "$name" <"$from/$name.dump"
done
put() { # container, file, folders below /
  docker run --rm -i --network none --cap-drop ALL --user 10001:10001 --volumes-from "$1" --entrypoint bash \
    "$(docker inspect -f '{{.Config.Image}}' "$1")" -c 'find "$@" -mindepth 1 -delete; tar -C / -xf -' put "${@:3}" <"$from/$2"
}
put "$scheduler" lake.tar /data /opt/airflow/logs
put "$mlflow" models.tar /mlflow
"${compose[@]}" up -d
python3 docker/wait.py "${compose[@]}"
echo "restore: done; Airflow's tables are those of this version (airflow db migrate ran)"
