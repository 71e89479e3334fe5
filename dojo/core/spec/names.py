"""Which models run, without reading their specs. Commands ask it, completion at each key."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from dojo.core.settings import ALL_MODELS

# The line as YAML understands it. `load_specs` refuses another way to write it.
_OPTIONAL = re.compile(r"^optional:[ \t]+(true|True|TRUE|yes|Yes|YES|on|On|ON)[ \t]*(#.*)?$", re.M)


def model_names(directory: Path, chosen: Collection[str] = ()) -> list[str]:
    """Return the names of the models that run, sorted.

    Args:
        directory: Where the specs are.
        chosen: Names, or ALL_MODELS. Without names, every model runs that is not optional.
    """
    files = sorted(directory.glob("*.yaml"))
    if ALL_MODELS in chosen:
        return [file.stem for file in files]
    if chosen:
        return [file.stem for file in files if file.stem in chosen]
    return [file.stem for file in files if not _is_optional(file)]


def _is_optional(file: Path) -> bool:
    try:
        return _OPTIONAL.search(file.read_text(encoding="utf-8")) is not None
    except (OSError, UnicodeDecodeError):
        return False  # load_specs says what is wrong with it
