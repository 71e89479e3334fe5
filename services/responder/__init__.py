"""The responder: turns verdicts into actions, by each model's policy (D4.5)."""
