#!/bin/bash
# `make backup TO=dir`: the databases, the lake with its landing folder, Airflow's logs and MLflow's models. Words: folder, compose.
# What writes is frozen meanwhile: a frozen writer is one that was killed there, which every reader and every retry stands.
set -euo pipefail
umask 077
to=$1
compose=("${@:2}")

refuse() {
  printf 'backup: %s\n  do: %s\n' "$1" "$2" >&2
  exit 64
}
[[ -n $to ]] || refuse "no folder is named" "make backup TO=/somewhere/new"
[[ ! -e $to || -d $to && -z $(ls -A "$to") ]] || refuse "$to is there and not empty" "name a new folder"

id() { "${compose[@]}" ps -q "$1"; }
postgres=$(id postgres) scheduler=$(id airflow-scheduler) mlflow=$(id mlflow)
[[ -n $postgres && -n $scheduler && -n $mlflow ]] || refuse "the platform is not up" "make up"

mkdir -p "$to"
chmod 700 "$to"
trap '"${compose[@]}" unpause airflow-scheduler mlflow >/dev/null' EXIT
"${compose[@]}" pause airflow-scheduler mlflow >/dev/null

for name in airflow mlflow mlflow_accounts; do
  docker exec "$postgres" pg_dump -U postgres --format custom "$name" >"$to/$name.dump"
done
copy() { # container, file, folders below /
  docker run --rm --network none --cap-drop ALL --user 10001:10001 --volumes-from "$1:ro" --entrypoint tar \
    "$(docker inspect -f '{{.Config.Image}}' "$1")" -C / -cf - "${@:3}" >"$to/$2"
}
copy "$scheduler" lake.tar data opt/airflow/logs
copy "$mlflow" models.tar mlflow

# Passwords are not in it, but accounts and connections can be used with those of the same .env only: which one, by its hash.
grep -E '^(AIRFLOW_FERNET_KEY|AIRFLOW_ADMIN_PASSWORD|MLFLOW_ADMIN_PASSWORD)=' .env | sort | sha256sum >"$to/env.sha256"
(cd "$to" && sha256sum -- *.dump *.tar env.sha256 >SHA256SUMS)
echo "backup: $(du -sh "$to" | cut -f1) in $to, mode 0700; keep .env, too, in another place"
