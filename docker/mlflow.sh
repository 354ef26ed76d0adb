#!/bin/bash
# MLflow with accounts: its settings file holds the first password, so it is written where nothing outlives the container.
set -euo pipefail
umask 077
cat > /tmp/accounts.ini <<INI
[mlflow]
default_permission = NO_PERMISSIONS
database_uri = ${MLFLOW_AUTH_DATABASE_URI}
admin_username = admin
admin_password = ${MLFLOW_ADMIN_PASSWORD}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
INI
export MLFLOW_AUTH_CONFIG_PATH=/tmp/accounts.ini
exec mlflow server --host 0.0.0.0 --port 5000 --workers 1 --app-name basic-auth \
  --serve-artifacts --artifacts-destination /mlflow \
  --allowed-hosts 'mlflow:5000,localhost:*,127.0.0.1:*'
