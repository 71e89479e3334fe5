"""What a run was worth: points with their evidence, the timeline and the post-mortem."""
