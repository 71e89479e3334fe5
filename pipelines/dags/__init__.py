"""Airflow DAGs, wiring only.

Each task calls one function of `pipelines`, tested without a scheduler.
"""
