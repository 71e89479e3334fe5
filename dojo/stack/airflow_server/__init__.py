"""The embedded stack's Airflow: `python -m dojo.stack.airflow_server` runs its API server, scheduler and DAG processor as one.

Nothing here imports Airflow; it is started, like Redis and MLflow. Where Airflow runs elsewhere (DOJO_AIRFLOW_URL), only
`pipelines/dags` is of interest there. `airflow standalone` is not used: it goes on without a component that died, prints the
password into the log, and starts a triggerer (200 MB) that nothing here needs.
"""
