"""The shared language of MLOps Dojo: specs, settings, clock, events, registry, statistics.

Everything else in this repository may import `dojo`; `dojo` imports nobody (held by import-linter).
"""

__version__ = "0.1.0"

# Where the embedded mode keeps everything, unless DOJO_HOME says otherwise.
DEFAULT_HOME = ".dojo"
