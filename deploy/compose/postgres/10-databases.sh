#!/bin/bash
# Makes a database and a role for MLflow and for Airflow. The image runs it once, when the volume is
# empty.
set -euo pipefail
for name in mlflow airflow; do
    variable="${name^^}_DB_PASSWORD"
    # \getenv, because every user who may list processes can read arguments.
    PASSWORD=${!variable} psql --set ON_ERROR_STOP=1 --set name="$name" --username postgres <<'SQL'
\getenv password PASSWORD
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
SQL
done
