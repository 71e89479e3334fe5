"""Incident drills: a real fault, a witness, a person's work on it, and a score from the record.

The drills are files in `drills/`. Their runs are in the home (record.py).
"""
