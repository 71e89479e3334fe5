"""How one process starts otherwise than the table says: `<home>/overrides/<name>.yaml`.

    environment: {DOJO_LOG_LEVEL: debug}
    directory: /srv/releases/gateway-41     # its code and its models/
    memory_mb: 1024                         # above it the process is killed

The supervisor reads the file at each start of the process. So `dojo restart NAME` applies it, and
`dojo status` shows it. Containers have such means of their own, and ignore it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field, ValidationError

from dojo.core.spec.read import faults_of
from dojo.core.spec.section import Section

# Before what is wrong with a file.
IGNORED = "ignored: "

Variable = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]


class OverrideError(ValueError):
    """The file is wrong. The message names file, field and reason."""


class Override(Section):
    """What is other for one process.

    Attributes:
        environment: Variables beside and above those of the table.
        directory: Where it is started. Python finds the project's code there first. None is where
            the supervisor was started.
        memory_mb: Resident memory, with its children, above which it is killed. 0 is no limit. It
            is measured once a second.
    """

    environment: dict[Variable, str] = Field(default_factory=dict)
    directory: Path | None = None
    memory_mb: Annotated[int, Field(ge=0)] = 0

    def __str__(self) -> str:
        given = [f"{name}={value}" for name, value in self.environment.items()]
        given += [f"directory {self.directory}"] if self.directory else []
        given += [f"at most {self.memory_mb} MB"] if self.memory_mb else []
        return ", ".join(given)


def override_file(home: Path, name: str) -> Path:
    """Return where the override of a process stands."""
    return home / "overrides" / f"{name}.yaml"


def read_override(home: Path, name: str) -> Override:
    """Return the override of a process. It is empty where the file is missing.

    Raises:
        OverrideError: The file is wrong.
    """
    path = override_file(home, name)
    try:
        found = Override.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except FileNotFoundError:
        return Override()
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise OverrideError(f"{path}: {error}") from error
    except ValidationError as error:
        raise OverrideError(faults_of(error, str(path))) from error
    if found.directory is not None and not found.directory.is_dir():
        raise OverrideError(f"{path}: directory: {found.directory} is no directory")
    return found


def overrides(home: Path) -> dict[str, str]:
    """Return each file's process, and what it says or what is wrong with it."""
    found = {}
    for path in sorted((home / "overrides").glob("*.yaml")):
        try:
            found[path.stem] = str(read_override(home, path.stem)) or "nothing"
        except OverrideError as error:
            found[path.stem] = f"{IGNORED}{error}"
    return found
