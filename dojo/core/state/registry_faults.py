"""What the monitor found changed in the registry past the platform.

One document per model, `dojo:registry:faults:<model>`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec
from redis import Redis

from dojo.core.state.documents import Document

FaultKind = Literal[
    "model", "version", "arm", "role", "bundle", "record", "run", "tags", "experiment"
]


class RegistryFault(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was changed in MLflow past the platform.

    Attributes:
        kind: What is gone or changed. `version` is the champion or the primary version of the
            route, `arm` another version of the route. `record` is a run that is deleted for good,
            `run` a run that can be restored.
        what: The fault in words.
        next_step: A command that mends it, as it is typed.
    """

    kind: FaultKind
    what: str
    next_step: str

    def __str__(self) -> str:
        return f"{self.what}. Next: {self.next_step}"


class RegistryFaults(msgspec.Struct, frozen=True, kw_only=True):
    """The faults of one model that its owner was told last.

    Attributes:
        faults: Empty when all are mended.
        since: World time at which the first of them was found.
        occasion: Counts changes, from 1. It names what was told.
    """

    faults: tuple[RegistryFault, ...]
    since: datetime
    occasion: int


def registry_faults(redis: Redis, model: str) -> Document[RegistryFaults]:
    return Document(redis, "dojo:registry:faults:{model}", RegistryFaults, model=model)
