"""Where transactions come from: generated or replayed, each a pure function of the day."""
