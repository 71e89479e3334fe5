"""Faults of processes: services, their connections, and programs beside the stack."""
