"""Routes: which versions answer a model's traffic, and who gets which. In Redis, changed only by compare-and-set.

    dojo:route:<model>    the model's current `Route` as JSON

A model without a route is served by the registry's champion (generation 0). Traffic follows routes, roles follow the registry's
aliases; `dojo/core/registry/promotion.py` changes both together, so that taking traffic away from a version never waits for MLflow.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Literal, cast

import msgspec
from redis import Redis

Strategy = Literal["champion", "shadow", "canary", "blue_green", "ab"]
Mode = Literal["live", "shadow"]

# Names of arms. The first arm of a route is the one that stands in when another fails.
CHAMPION_ARM = "champion"
CHALLENGER_ARM = "challenger"
STANDBY_ARM = "standby"

_COMPARE_AND_SET = """
local current = redis.call('get', KEYS[1])
local generation = current and cjson.decode(current)['generation'] or 0
if generation ~= tonumber(ARGV[1]) then return generation end
redis.call('set', KEYS[1], ARGV[2])
return -1
"""


class RouteConflictError(RuntimeError):
    """Somebody changed the route since it was read: read it again and decide again."""


class InvalidRouteError(ValueError):
    """A route that cannot serve; the message says what was found and what would be right."""


class Arm(msgspec.Struct, frozen=True):
    """One version in a route. `weight`: its share of the live traffic, a fraction; 0 for shadows and for a warm standby."""

    name: str
    version: str
    weight: float
    mode: Mode = "live"


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """The arms of one model.

    Attributes:
        generation: counts changes, from 1.
        salt: decides which entities get which arm. The same salt keeps everybody where they are; a new experiment takes a new one,
            so that it does not inherit the last one's groups.
        changed_at: world time. `who`, `why`: for people and the audit trail.
    """

    model: str
    generation: int
    strategy: Strategy
    arms: tuple[Arm, ...]
    salt: str
    changed_at: datetime
    who: str
    why: str

    def __post_init__(self) -> None:
        live = [arm for arm in self.arms if arm.mode == "live"]
        if not live or self.arms[0].mode != "live":
            raise InvalidRouteError(f"{self.model}: the first arm must be live, got {self.arms}")
        if len({arm.name for arm in self.arms}) < len(self.arms) or len({arm.version for arm in self.arms}) < len(self.arms):
            raise InvalidRouteError(f"{self.model}: arms must differ in name and version, got {self.arms}")
        if any(not 0 <= arm.weight <= 1 for arm in self.arms) or abs(sum(arm.weight for arm in live) - 1) > 1e-9:
            raise InvalidRouteError(
                f"{self.model}: the weights of the live arms must be fractions that add up to 1, got {self.arms}"
            )
        if any(arm.weight for arm in self.arms if arm.mode == "shadow"):
            raise InvalidRouteError(f"{self.model}: a shadow gets every request and no weight, got {self.arms}")
        if len(self.arms) - len(live) > 1:  # a shadow's event is named after the prediction that it mirrors
            raise InvalidRouteError(f"{self.model}: at most one arm may be a shadow, got {self.arms}")

    def arm(self, name: str) -> Arm | None:
        return next((arm for arm in self.arms if arm.name == name), None)

    @property
    def primary(self) -> Arm:
        """The live arm with the most traffic (the first of several)."""
        return max((arm for arm in self.arms if arm.mode == "live"), key=lambda arm: arm.weight)


def position(salt: str, key: str) -> float:
    """Where an entity stands on [0, 1): uniform over keys, the same for ever, independent between salts."""
    secret = salt.encode()
    if len(secret) > blake2b.MAX_KEY_SIZE:
        secret = blake2b(secret).digest()
    return int.from_bytes(blake2b(key.encode(), digest_size=8, key=secret).digest(), "big") / 2**64


def pick(arms: Sequence[Arm], at: float) -> Arm:
    """The live arm whose part of [0, 1) holds `at`.

    Parts are laid out from the last arm to the first, so that a challenger keeps its entities while its weight grows.
    """
    edge = 0.0
    for arm in reversed(arms):
        if arm.mode == "live":
            edge += arm.weight
            if at < edge:
                return arm
    return arms[0]


def route_key(model: str) -> str:
    return f"dojo:route:{model}"


def decode_route(content: bytes) -> Route:
    """Raises msgspec.MsgspecError, InvalidRouteError: not a route."""
    return msgspec.json.decode(content, type=Route)


class RouteTable:
    """The routes in Redis."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def get(self, model: str) -> Route | None:
        """The current route, None while the model has none."""
        return self.read(model)[1]

    def read(self, model: str) -> tuple[bytes | None, Route | None]:
        """The current route as it is stored and as it reads, for who will replace it."""
        content = cast("bytes | None", self._redis.get(route_key(model)))
        return content, None if content is None else decode_route(content)

    def replace(self, route: Route) -> None:
        """Make `route` the current one, if its generation follows the current one's by one. Leaves no record: see `Champions.route`.

        Raises:
            RouteConflictError: somebody was faster.
        """
        current = self._redis.eval(
            _COMPARE_AND_SET, 1, route_key(route.model), route.generation - 1, msgspec.json.encode(route)
        )
        if int(cast("int", current)) != -1:
            raise RouteConflictError(
                f"{route.model}: expected route generation {route.generation - 1}, found {current}: it was changed meanwhile"
            )
