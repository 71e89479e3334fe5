"""The pure rules that decide: drift conditions, the checks of a rollout, the gate.

Services, pipelines and tests call the same functions.
"""
