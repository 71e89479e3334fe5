"""Which models run and who owns them, without reading their specs.

Commands ask it, completion at each key. It answers for a wrong spec too.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from dojo.core.settings import ALL_MODELS

# The line as YAML understands it. `load_specs` refuses another way to write it.
_OPTIONAL = re.compile(r"^optional:[ \t]+(true|True|TRUE|yes|Yes|YES|on|On|ON)[ \t]*(#.*)?$", re.M)
# Begins what a process says of a wrong spec, where a right one has its hash.
WRONG = "wrong: "
# Owner of a model without an owner in its file.
PLATFORM_TEAM = "ml-platform"
_OWNER = re.compile(r"""^owner:[ \t]+["']?([^"'#\n]*[^"'#\s])["']?[ \t]*(#.*)?$""", re.M)


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


def owner_of(directory: Path, model: str) -> str:
    """Return a model's owner, also of a wrong spec. PLATFORM_TEAM where its file does not say."""
    try:
        found = _OWNER.search((directory / f"{model}.yaml").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return PLATFORM_TEAM
    return found[1] if found else PLATFORM_TEAM


def _is_optional(file: Path) -> bool:
    try:
        return _OPTIONAL.search(file.read_text(encoding="utf-8")) is not None
    except (OSError, UnicodeDecodeError):
        return False  # load_specs says what is wrong with it
