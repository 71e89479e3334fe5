"""Prometheus and Alertmanager in the embedded mode: found where they are installed, given their files, started in their place.

What they do is in monitoring/: the same files that containers mount elsewhere.
"""
