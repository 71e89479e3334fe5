"""Untrusted versions, scored in a process of their own."""
