"""State that processes share in Redis. Each kind has its own key family."""
