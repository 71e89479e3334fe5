"""What a person can do to the platform: one function each, called by the commands and by the console."""
