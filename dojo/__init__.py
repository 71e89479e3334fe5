"""The shared language of MLOps Dojo: specs, settings, clock, events, registry, statistics.

Every other package of this repository may import `dojo`. It imports none of them (import-linter).
"""

__version__ = "0.1.0"

# Where the embedded mode keeps everything, unless DOJO_HOME says otherwise.
DEFAULT_HOME = ".dojo"
