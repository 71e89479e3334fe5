"""The catalogue for Feast's own command line (feature_store.yaml).

Feast imports this file and collects its global objects.
"""

from __future__ import annotations

from pathlib import Path

from dojo.core.settings import load_settings
from feature_repo.definitions import build_definitions

# Feast changes into this directory before the import. A relative DOJO_HOME counts from the
# repository's root.
_ROOT = Path(__file__).resolve().parents[1]

globals().update(
    {
        f"{type(made).__name__}_{made.name}": made
        for made in build_definitions(_ROOT / load_settings().offline_dir)
    }
)
