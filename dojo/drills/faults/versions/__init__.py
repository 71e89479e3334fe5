"""Faults of model versions: their files, roles and rollouts."""
