#!/bin/bash
# Run once, by the image, when the volume is empty: a database and a role for each of the two that keep metadata here.
set -euo pipefail
for name in mlflow airflow; do
    variable="${name^^}_DB_PASSWORD"
    # \getenv: arguments are for everybody to read who may list processes.
    PASSWORD=${!variable} psql --set ON_ERROR_STOP=1 --set name="$name" --username postgres <<'SQL'
\getenv password PASSWORD
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
SQL
done
