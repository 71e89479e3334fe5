"""The rules that decide: drift conditions, checks of a rollout, the gate. Pure: services, pipelines and tests call the same functions."""
