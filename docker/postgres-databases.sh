#!/bin/bash
# Run once by the image's entrypoint, on an empty volume: a database and a role for each service, no two with one password.
set -euo pipefail
for name in airflow mlflow; do
  secret=${name^^}_DB_PASSWORD
  psql -v ON_ERROR_STOP=1 --no-psqlrc -U postgres -d postgres <<SQL
CREATE ROLE $name LOGIN PASSWORD '${!secret}';
CREATE DATABASE $name OWNER $name;
SQL
done
psql -v ON_ERROR_STOP=1 --no-psqlrc -U postgres -d postgres -c 'CREATE DATABASE mlflow_accounts OWNER mlflow'
