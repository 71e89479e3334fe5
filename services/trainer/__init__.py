"""The trainer: retrains on a schedule, and executes work orders in child processes or in Airflow."""
