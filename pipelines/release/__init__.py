"""What a trained version leaves: its run in MLflow, its model card, its registration and its rollout."""
