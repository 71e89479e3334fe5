"""A model's contract: its YAML, read and checked."""
