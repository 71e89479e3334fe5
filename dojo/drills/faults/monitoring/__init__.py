"""Faults of the monitoring: its files and its silences."""
