"""A model's serving version by its route, its champion by the registry, and registry faults.

All are remembered while MLflow is away.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime

import msgspec

from dojo.core.registry.errors import RegistryUnavailableError, UnknownVersionError
from dojo.core.registry.faults import find_faults, serving_record
from dojo.core.registry.versions import CHAMPION, ModelRegistry
from dojo.core.state.audit import AuditTrail, Entry
from dojo.core.state.registry_faults import RegistryFault
from dojo.core.state.routes import InvalidRouteError, Route, RouteTable, disagreement

# Wall seconds between questions, and after a failed one. A question to an absent server takes its
# whole timeout.
ASK_SECONDS = 10.0
RETRY_SECONDS = 30.0


@dataclass(frozen=True)
class ServingVersion:
    """The version that answers most of a model's traffic.

    Attributes:
        trained_as_of: World time of the end of its training data. None if its record lacks it.
        champion: The version that holds the role, "" for none.
        disagreement: How the route differs from the champion, in words. "" where they agree.
        faults: Changes in the registry past the platform, at this look and the one before.
    """

    version: str
    trained_as_of: datetime | None
    champion: str
    disagreement: str
    faults: tuple[RegistryFault, ...] = ()


class ServingVersions:
    """The serving version of each model, None while none is known.

    Attributes:
        away: Models without an answer from the registry.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        routes: RouteTable,
        audit: AuditTrail,
        ask_seconds: float = ASK_SECONDS,
    ) -> None:
        self._registry, self._routes, self._audit, self._ask_seconds = (
            registry,
            routes,
            audit,
            ask_seconds,
        )
        self._known: dict[str, ServingVersion | None] = {}
        self._told: dict[
            str, tuple[int, Entry | None]
        ] = {}  # model -> the trail's length and its last word on the champion
        self._seen: dict[str, tuple[RegistryFault, ...]] = {}  # at the last look
        self._ask_at: dict[str, float] = {}
        self.away: set[str] = set()

    def of(self, model: str) -> ServingVersion | None:
        """Return the serving version, and ask again when it is time.

        If the registry is away, the last answer stays.

        Raises:
            redis.RedisError: Redis is out of reach.
        """
        if time.monotonic() >= self._ask_at.get(model, 0.0):
            try:
                self._known[model] = self._ask(model)
            except RegistryUnavailableError:
                self.away.add(model)
            else:
                self.away.discard(model)
            self._ask_at[model] = time.monotonic() + (
                RETRY_SECONDS if model in self.away else self._ask_seconds
            )
        return self._known.get(model)

    def _ask(self, model: str) -> ServingVersion | None:
        route, holder = self._route(model), self._registry.by_alias(model, CHAMPION)
        champion = holder.version if holder is not None else ""
        record = serving_record(route, self._champion_told(model))
        faults = find_faults(self._registry, model, record)
        seen, self._seen[model] = self._seen.get(model, ()), faults
        version = (route.primary.version if route is not None else champion) or record.champion
        if not version:
            return None
        if holder is None or holder.version != version:
            try:
                holder = self._registry.get(model, version)
            except UnknownVersionError:
                holder = None
        as_of = holder.tags.as_of if holder is not None else None
        # A promotion changes role, trail and route one after the other. A fault that two looks see
        # is no promotion under way.
        lasting = tuple(fault for fault in faults if fault in seen)
        return ServingVersion(version, as_of, champion, disagreement(route, champion), lasting)

    def _champion_told(self, model: str) -> Entry | None:
        """The trail's newest entry on the champion.

        It reads only entries since the last look, because the trail is long.
        """
        length, told = self._told.get(model, (0, None))
        now = self._audit.length()
        if now < length:  # another world's trail
            length, told = 0, None
        told = self._audit.newest_champion(model, since=length) or told
        self._told[model] = (now, told)
        return told

    def _route(self, model: str) -> Route | None:
        try:
            return self._routes.get(model)
        except (msgspec.MsgspecError, InvalidRouteError):
            return None  # the gateway counts it as refused, and keeps its route
