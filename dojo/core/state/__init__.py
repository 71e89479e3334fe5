"""What processes share in Redis, each with its own key family."""
