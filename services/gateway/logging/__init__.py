"""Every answer as an event, also while Redis is away."""
