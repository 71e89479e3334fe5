#!/bin/sh
# Writes .env (or the named file) with the secrets that docker-compose.yml needs. It keeps existing
# secrets and adds missing ones. `make env` calls it.
set -eu
file=${1:-$(dirname "$0")/../.env}
umask 077
touch "$file"
chmod 600 "$file"
[ -z "$(tail -c 1 "$file")" ] || echo >> "$file"   # ends a last line without a newline
added=0

# Takes a name and a command that prints its value.
need() {
    name=$1; shift
    grep -Eq "^$name=[^[:space:]\"']" "$file" && return 0
    value=$("$@") || exit 1
    printf '%s=%s\n' "$name" "$value" >> "$file"
    added=$((added + 1))
}
token() { python3 -c 'import secrets; print(secrets.token_hex(24))'; }  # hex: safe in URLs, shells
jwt() { python3 -c 'import secrets; print(secrets.token_hex(64))'; }    # HS512 wants 64 bytes
fernet() {
    python3 -c 'import base64, secrets
print(base64.urlsafe_b64encode(secrets.token_bytes(32)).decode())'
}

need REDIS_PASSWORD token
need POSTGRES_PASSWORD token
need MLFLOW_DB_PASSWORD token
need AIRFLOW_DB_PASSWORD token
need AIRFLOW_PASSWORD token
need AIRFLOW_FERNET_KEY fernet
need AIRFLOW_SECRET_KEY token
need AIRFLOW_JWT_SECRET jwt
need GRAFANA_PASSWORD token
need DOJO_TIME_KEY token
need DOJO_SEAL_KEY token
echo "$file: $added secrets added, the others kept; only you can read it" >&2
