"""What caused drift does to a world's days."""
