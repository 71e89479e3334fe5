"""How far two distributions are apart, and what chance alone reaches."""
