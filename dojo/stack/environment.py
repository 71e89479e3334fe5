"""The settings a home was started with: `<home>/run/environment.json`.

`DOJO_GATEWAY_PORT=9000 dojo up` in one shell and `dojo train` in another must mean the same stack.
So `up` writes down every `DOJO_*` variable that it was given, and later commands take them as their
defaults. A variable that is set in a shell still comes first. `dojo down --purge` forgets them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from dojo import DEFAULT_HOME
from dojo.stack.paths import environment_file

PREFIX = "DOJO_"
HOME_VARIABLE = "DOJO_HOME"

# They decide the world's history. With another value the same home would hold two worlds.
WORLD_VARIABLES = (
    "DOJO_WORLD_SOURCE",
    "DOJO_REPLAY_DATASET",
    "DOJO_SEED",
    "DOJO_HISTORY_DAYS",
    "DOJO_SYNTHETIC_CUSTOMERS",
    "DOJO_SYNTHETIC_MERCHANTS",
    "DOJO_SYNTHETIC_FRAUD_RATE",
    "DOJO_SYNTHETIC_FRAUD_SHIFT",
)


class WorldConflictError(ValueError):
    """The home already holds another world."""


def remembered(home: Path) -> dict[str, str]:
    """The variables that `up` wrote down; empty for a home that was never started."""
    try:
        stored = json.loads(environment_file(home).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return {str(name): str(value) for name, value in stored.items()}


def remember(home: Path, environment: Mapping[str, str]) -> None:
    """Write down the `DOJO_*` variables of `environment`, except the home itself."""
    chosen = {
        name: value
        for name, value in sorted(environment.items())
        if name.startswith(PREFIX) and name != HOME_VARIABLE
    }
    target = environment_file(home)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_suffix(".tmp")
    temporary.write_text(json.dumps(chosen, indent=2) + "\n")
    temporary.replace(target)


def adopt(environment: MutableMapping[str, str]) -> None:
    """Complete a shell's `environment` with the variables that its home was started with."""
    home = Path(environment.get(HOME_VARIABLE) or DEFAULT_HOME)
    for name, value in remembered(home).items():
        environment.setdefault(name, value)


def world_exists(home: Path) -> bool:
    """Whether this home's lake holds a world's history."""
    return next((home / "lake").rglob("*.parquet"), None) is not None


def check_same_world(home: Path, environment: Mapping[str, str]) -> None:
    """Refuse to continue an existing world as another one.

    Raises:
        WorldConflictError: Names the variable, its value when the world was built, and the value
            that was asked for.
    """
    from dojo.core.settings import (
        Settings,
    )  # here: `adopt` runs before every command, also before `dojo --version`

    if not world_exists(home):
        return
    before = remembered(home)
    for name in WORLD_VARIABLES:
        default = str(Settings.model_fields[name.removeprefix(PREFIX).lower()].default or "")
        built, asked = before.get(name) or default, environment.get(name) or default
        if built != asked:
            raise WorldConflictError(
                f"{home} holds a world built with {name}={built or '(default)'}; it cannot go on"
                f" with {name}={asked or '(default)'}"
            )
