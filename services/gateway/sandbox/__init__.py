"""Untrusted versions, each scored in its own process."""
