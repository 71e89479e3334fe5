"""What a stage of a rollout has shown, and what follows from it."""
