"""Prometheus and Alertmanager in the embedded mode.

They are found where they are installed, and started with files from monitoring/. Containers mount
the same files elsewhere.
"""
