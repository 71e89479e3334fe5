"""Who the champion is and how old its knowledge, from the registry; asked now and then, remembered while MLflow is away."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime

from dojo.core.registry.errors import RegistryUnavailableError
from dojo.core.registry.versions import CHAMPION, ModelRegistry

# Wall seconds between questions, and after one that failed: a question to a server that is away takes as long as its timeout.
ASK_SECONDS = 10.0
RETRY_SECONDS = 30.0


@dataclass(frozen=True)
class Champion:
    version: str
    trained_as_of: datetime | None


class ChampionCache:
    """The champion of each model, None while none is known."""

    def __init__(self, registry: ModelRegistry) -> None:
        self._registry = registry
        self._known: dict[str, Champion | None] = {}
        self._ask_at: dict[str, float] = {}
        self.away = False

    def of(self, model: str) -> Champion | None:
        """Asks the registry when it is time; one that is away leaves what was known, and sets `away`."""
        if time.monotonic() >= self._ask_at.get(model, 0.0):
            try:
                version = self._registry.by_alias(model, CHAMPION)
            except RegistryUnavailableError:
                self.away, self._ask_at[model] = True, time.monotonic() + RETRY_SECONDS
            else:
                self.away, self._ask_at[model] = False, time.monotonic() + ASK_SECONDS
                self._known[model] = None if version is None else Champion(version.version, version.tags.as_of)
        return self._known.get(model)
