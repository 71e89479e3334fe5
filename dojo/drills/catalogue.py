"""All drills, read from `drills/` of the checkout."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path

import yaml
from pydantic import ValidationError

from dojo.core.spec.read import faults_of
from dojo.drills.spec import DrillSpec

# Beside the package, as in a checkout and in the images.
DIRECTORY = Path(__file__).parents[2] / "drills"


class DrillFileError(ValueError):
    """A drill's file is wrong. The message names file, field and reason."""


class UnknownDrillError(ValueError):
    """There is no such drill."""


def load_drill(path: Path) -> DrillSpec:
    """Read one drill.

    Raises:
        DrillFileError: The file cannot be read, or is wrong.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        spec = DrillSpec.model_validate(document)
    except (OSError, yaml.YAMLError) as error:
        raise DrillFileError(f"{path}: {error}") from error
    except ValidationError as error:
        raise DrillFileError(faults_of(error, str(path))) from error
    if spec.id != path.stem:
        raise DrillFileError(f"{path}: id: must equal the file's name, got {spec.id!r}")
    return spec


def catalogue(directory: Path = DIRECTORY) -> dict[str, DrillSpec]:
    """Return all drills by id, the easy ones first.

    Raises:
        DrillFileError: A file is wrong.
    """
    found = [load_drill(path) for path in sorted(directory.glob("*/*.yaml"))]
    return {spec.id: spec for spec in sorted(found, key=lambda one: (one.level, one.id))}


def any_drill(known: Mapping[str, DrillSpec], level: int = 0) -> DrillSpec:
    """Return a drill by chance.

    Args:
        known: Drills by id.
        level: Only of this level. 0 is any.

    Raises:
        UnknownDrillError: There is none of this level.
    """
    found = [one for one in known.values() if level in (0, one.level)]
    if not found:
        raise UnknownDrillError(f"no drill of level {level}")
    return secrets.choice(found)


def drill(name: str, directory: Path = DIRECTORY) -> DrillSpec:
    """Return one drill.

    Raises:
        UnknownDrillError: There is none of this name.
    """
    known = catalogue(directory)
    if name not in known:
        raise UnknownDrillError(f"no drill {name!r}: there are {', '.join(known)}")
    return known[name]
