"""Airflow DAGs: wiring only. Each task calls one function of `pipelines` that tests call without a scheduler."""
