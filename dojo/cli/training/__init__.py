"""Commands that compute features and train versions."""
