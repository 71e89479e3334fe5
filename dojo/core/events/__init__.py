"""Events as immutable messages, and the log that carries them."""
