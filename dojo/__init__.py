"""The shared language of MLOps Dojo: specs, settings, clock, events, registry, statistics.

Everything else in this repository may import `dojo`; `dojo` imports nobody (held by import-linter).
"""

__version__ = "0.1.0"
