"""A new model: its spec, features and test from templates, and its check without servers."""
