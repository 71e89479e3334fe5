"""The trainer: retrains on schedule, and executes work orders in child processes or in Airflow."""
