"""The results of training: the run in MLflow, the model card, the registration and the rollout."""
