"""Actions of a person on the platform: one function each, called by commands and console."""
