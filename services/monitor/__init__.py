"""The monitor: watches predictions, outcomes and features of every model, and says what it thinks of them (D4, D19, D20)."""
