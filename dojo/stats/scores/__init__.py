"""How well scores of a classifier separate and mean what they say."""
