"""A model's contract, its YAML file, read and checked."""
