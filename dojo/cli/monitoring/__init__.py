"""Commands that show what the monitor and the responder think, and take a person's word on it."""
