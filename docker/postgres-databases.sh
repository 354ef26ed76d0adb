#!/bin/bash
# Run once by the image's entrypoint, on an empty volume: a database and a role for each service, no two with one password,
# and none that may enter another's. `upstream` is the example's own; its reader is who the tasks sign in as.
set -euo pipefail
ask() { psql -v ON_ERROR_STOP=1 --no-psqlrc -U postgres -d postgres; }
for name in airflow mlflow upstream; do
  secret=${name^^}_DB_PASSWORD
  ask <<SQL
CREATE ROLE $name LOGIN PASSWORD '${!secret}';
CREATE DATABASE $name OWNER $name;
REVOKE CONNECT ON DATABASE $name FROM PUBLIC;
SQL
done
ask <<SQL
CREATE DATABASE mlflow_accounts OWNER mlflow;
REVOKE CONNECT ON DATABASE mlflow_accounts FROM PUBLIC;
CREATE ROLE upstream_reader LOGIN PASSWORD '${PLANES_PASSWORD}';
GRANT CONNECT ON DATABASE upstream TO upstream_reader;
SQL
