"""The embedded stack's Airflow.

`python -m dojo.stack.airflow_server` runs its API server, scheduler and DAG processor as one.

Nothing here imports Airflow. It is started as a process, like Redis and MLflow. Where Airflow runs
elsewhere (DOJO_AIRFLOW_URL), only `pipelines/dags` is of interest there.

`airflow standalone` is not used, for three reasons. It goes on without a component that died. It
prints the password into the log. It starts a triggerer (200 MB), and nothing here needs one.
"""
