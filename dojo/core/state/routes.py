"""Routes: which versions answer a model's traffic, and which entities each version gets.

One document per model, `dojo:route:<model>`.

The registry's champion serves a model without a route (generation 0). Traffic follows routes, roles
follow the registry's aliases. `dojo/core/registry/promotion.py` changes both together, so that
taking traffic away from a version never waits for MLflow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Literal

import msgspec
from redis import Redis

from dojo.core.state.atomic import ConflictError
from dojo.core.state.audit import Entry
from dojo.core.state.documents import Document, Stored, document_key
from dojo.core.state.draws import Draw

ROUTE = "dojo:route:{model}"

Strategy = Literal["champion", "shadow", "canary", "blue_green", "ab", "bandit"]
Mode = Literal["live", "shadow"]

# Names of arms. The first arm of a route stands in when another fails.
CHAMPION_ARM = "champion"
CHALLENGER_ARM = "challenger"
STANDBY_ARM = "standby"


class InvalidRouteError(ValueError):
    """A route that cannot serve. The message says what was found and what would be right."""


class Arm(msgspec.Struct, frozen=True):
    """One version in a route.

    Attributes:
        weight: Share of the live traffic, a fraction. 0 for shadows and for a warm standby.
    """

    name: str
    version: str
    weight: float
    mode: Mode = "live"


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """The arms of one model.

    Attributes:
        generation: Counts changes, from 1.
        salt: Decides which entities get which arm. The same salt keeps every entity in its arm. A
            new experiment takes a new salt, so that it does not inherit the last one's groups.
        draw: What is drawn an arm for. By default it is the entity.
        changed_at: World time of the change.
        who: Author of the change, for people and the audit trail.
        why: Reason of the change, for people and the audit trail.
    """

    model: str
    generation: int
    strategy: Strategy
    arms: tuple[Arm, ...]
    salt: str
    changed_at: datetime
    who: str
    why: str
    draw: Draw = Draw()

    def __post_init__(self) -> None:
        live = [arm for arm in self.arms if arm.mode == "live"]
        if not live or self.arms[0].mode != "live":
            raise InvalidRouteError(f"{self.model}: the first arm must be live, got {self.arms}")
        if len({arm.name for arm in self.arms}) < len(self.arms) or len(
            {arm.version for arm in self.arms}
        ) < len(self.arms):
            raise InvalidRouteError(
                f"{self.model}: arms must differ in name and version, got {self.arms}"
            )
        if (
            any(not 0 <= arm.weight <= 1 for arm in self.arms)
            or abs(sum(arm.weight for arm in live) - 1) > 1e-9
        ):
            raise InvalidRouteError(
                f"{self.model}: the weights of the live arms must be fractions that add up to 1,"
                f" got {self.arms}"
            )
        if any(arm.weight for arm in self.arms if arm.mode == "shadow"):
            raise InvalidRouteError(
                f"{self.model}: a shadow gets every request and no weight, got {self.arms}"
            )
        if (
            len(self.arms) - len(live) > 1
        ):  # a shadow's event is named after its prediction, so two shadows would share a name
            raise InvalidRouteError(
                f"{self.model}: at most one arm may be a shadow, got {self.arms}"
            )

    def drawn_for(self, entity: str, request_id: str) -> float:
        """Return the place on [0, 1) of a request."""
        return position(self.salt, entity if self.draw.sticky else request_id or entity)

    def at(self, place: float, row: Mapping[str, float] | None = None) -> tuple[Arm, float]:
        """Return the arm at a place, and the probability of being drawn that arm.

        Args:
            row: The request's features. None, or a route without a context, takes the weights.
        """
        arms = self.arms
        if self.draw.context is not None and row is not None:
            weights = self.draw.context.weights(row)
            arms = tuple(msgspec.structs.replace(a, weight=weights.get(a.name, 0.0)) for a in arms)
        arm = pick(arms, place)
        return arm, arm.weight

    def arm(self, name: str) -> Arm | None:
        return next((arm for arm in self.arms if arm.name == name), None)

    @property
    def primary(self) -> Arm:
        """The live arm with the most traffic (the first of several)."""
        return max((arm for arm in self.arms if arm.mode == "live"), key=lambda arm: arm.weight)


def position(salt: str, key: str) -> float:
    """Where an entity stands on [0, 1).

    Uniform over keys, the same for ever, independent between salts.
    """
    secret = salt.encode()
    if len(secret) > blake2b.MAX_KEY_SIZE:
        secret = blake2b(secret).digest()
    return int.from_bytes(blake2b(key.encode(), digest_size=8, key=secret).digest(), "big") / 2**64


def pick(arms: Sequence[Arm], at: float) -> Arm:
    """The live arm whose part of [0, 1) holds `at`.

    Parts are laid out from the last arm to the first. So a challenger keeps its entities while its
    weight grows.
    """
    edge = 0.0
    for arm in reversed(arms):
        if arm.mode == "live":
            edge += arm.weight
            if at < edge:
                return arm
    return arms[0]


def disagreement(route: Route | None, champion: str | None) -> str:
    """How a route differs from the registry's champion, in words, or "".

    Args:
        champion: Version of the registry's champion, "" for none, None while it is unknown.
    """
    if route is None or champion is None or route.primary.version == champion:
        return ""
    return (
        f"most traffic goes to version {route.primary.version}, the registry's champion is"
        f" {champion or 'none'}"
    )


def route_key(model: str) -> str:
    return document_key(ROUTE, model=model)


def decode_route(content: bytes) -> Route:
    """Raises msgspec.MsgspecError or InvalidRouteError when it is not a route."""
    return msgspec.json.decode(content, type=Route)


class RouteTable:
    """The routes in Redis."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def get(self, model: str) -> Route | None:
        """The current route, None while the model has none."""
        return self.read(model).value

    def read(self, model: str) -> Stored[Route]:
        """The current route with its revision, for a caller that will replace it."""
        return self._document(model).read()

    def replace(self, expected: Stored[Route], route: Route, audit: Entry | None = None) -> None:
        """Make `route` the current one. To record the change too, see `RoleChanges.route`.

        Raises:
            ConflictError: The generation does not follow, or another process was faster.
        """
        generation = expected.value.generation if expected.value else 0
        if route.generation != generation + 1:
            raise ConflictError(
                f"{route.model}: expected route generation {route.generation - 1}, found"
                f" {generation}: it was changed meanwhile"
            )
        self._document(route.model).replace(expected.revision, route, audit)

    def remove(self, model: str, expected: Stored[Route], audit: Entry) -> None:
        """Remove the route, and record it in the same write.

        Raises ConflictError when another process was faster.
        """
        self._document(model).remove(expected.revision, audit)

    def _document(self, model: str) -> Document[Route]:
        return Document(self._redis, ROUTE, Route, model=model)
