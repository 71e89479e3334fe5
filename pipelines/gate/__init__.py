"""Is the challenger better than the champion? Decided on the same holdout, and reported."""
