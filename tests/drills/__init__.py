"""Scripted responders that play the drills: the right work, nothing, restarts, and everything.

`make drills` plays them on a stack of its own, and keeps their records in `recorded`.
"""
