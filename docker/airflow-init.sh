#!/bin/bash
# Run once before Airflow's services, safe to run again: tables, the account admin, a pool a pipeline.
set -euo pipefail
airflow db migrate
if ! airflow users list --output plain 2>/dev/null | grep -qw admin; then
  # asked for, and so in no process's arguments
  printf '%s\n%s\n' "$AIRFLOW_ADMIN_PASSWORD" "$AIRFLOW_ADMIN_PASSWORD" |
    airflow users create --username admin --role Admin --firstname tide --lastname gate --email admin@localhost
fi
# TIDEGATE_POOL is {pipeline}: a task in a pool that does not exist would never start
for folder in conf/pipelines/*/; do
  airflow pools set "$(basename "$folder")" 1 "Spark steps of this pipeline"
done
