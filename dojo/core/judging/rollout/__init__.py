"""The results of a rollout's stage, and the next step that follows from them."""
