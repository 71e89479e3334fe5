"""Changing the champion: registry and route together, recorded, and repeatable after a kill at any point.

Promotion gives the role first and the traffic second: a version that the registry refuses never gets traffic. Rollback takes the
traffic away first: that needs only Redis, and must not wait for MLflow.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import structlog

from dojo.audit import AuditTrail
from dojo.registry import AUDIT_TAG, CHAMPION, PREVIOUS_CHAMPION, ModelRegistry, NoPreviousChampionError, UnknownVersionError
from dojo.routes import CHAMPION_ARM, STANDBY_ARM, Arm, Route, RouteTable, Strategy

_log = structlog.get_logger("promotion")


@dataclass(frozen=True, slots=True)
class Change:
    """Why something is changed: `key` names this one change for good, so that its repetition is recognised."""

    key: str
    who: str
    why: str
    world_time: datetime


@dataclass(frozen=True, slots=True)
class Champions:
    """The registry's roles, the routes and the audit trail, changed together."""

    registry: ModelRegistry
    routes: RouteTable
    audit: AuditTrail

    def promote(self, model: str, version: str, change: Change, keep_standby: bool = True) -> Route:
        """Make `version` the champion and give it all traffic; the old champion stays warm beside it when `keep_standby`.

        Raises:
            UnknownVersionError, RegistryUnavailableError: nothing or only the role was changed; repeat it.
            RouteConflictError: repeat it. redis.RedisError: likewise.
        """
        self.registry.promote(model, version)
        previous = self.registry.by_alias(model, PREVIOUS_CHAMPION)
        entry = self.audit.append(
            entry_id=f"{change.key}:alias",
            kind="alias",
            model=model,
            who=change.who,
            what=f"version {version} became champion",
            why=change.why,
            before={"champion": previous.version if previous else None},
            after={"champion": version, "previous_champion": previous.version if previous else None},
            world_time=change.world_time,
        )
        if entry is not None:
            self.registry.set_tag(model, version, AUDIT_TAG, f"{entry.sequence}:{entry.hash}")
        standby = previous.version if previous and keep_standby else None
        return self.route(model, "blue_green" if standby else "champion", full_traffic(version, standby), change)

    def roll_back(self, model: str, change: Change, to: str | None = None) -> Route:
        """Give all traffic, then the role, back to `to` (default: the previous champion).

        Raises:
            NoPreviousChampionError: nothing was changed.
            RegistryUnavailableError: with `to` given the traffic has moved, the role has not: repeat it.
        """
        if to is None:
            previous = self.registry.by_alias(model, PREVIOUS_CHAMPION)
            if previous is None:
                raise NoPreviousChampionError(f"{model}: no version is its previous champion; promote one instead")
            to = previous.version
        route = self.route(model, "champion", (Arm(CHAMPION_ARM, to, 1.0),), change)
        before = self.registry.by_alias(model, CHAMPION)
        self.registry.roll_back(model, to, change.why)
        self.audit.append(
            entry_id=f"{change.key}:alias",
            kind="alias",
            model=model,
            who=change.who,
            what=f"version {to} is champion again",
            why=change.why,
            before={"champion": before.version if before else None},
            after={"champion": to},
            world_time=change.world_time,
        )
        return route

    def route(self, model: str, strategy: Strategy, arms: tuple[Arm, ...], change: Change, salt: str = "") -> Route:
        """Make a route the current one and record it. A route that already is as wanted stays.

        Raises:
            RouteConflictError, redis.RedisError: repeat it.
        """
        current = self.routes.get(model)
        wanted = Route(
            model=model,
            generation=current.generation + 1 if current else 1,
            strategy=strategy,
            arms=arms,
            salt=salt or (current.salt if current else model),
            changed_at=change.world_time,
            who=change.who,
            why=change.why,
        )
        if current is not None and (current.strategy, current.arms, current.salt) == (
            wanted.strategy,
            wanted.arms,
            wanted.salt,
        ):
            self._record(current, None)  # whoever made it may have been killed before recording it
            return current
        self.routes.replace(wanted)
        self._record(wanted, current)
        return wanted

    def _record(self, route: Route, before: Route | None) -> None:
        self.audit.append(
            entry_id=f"route:{route.model}:{route.generation}",
            kind="route",
            model=route.model,
            who=route.who,
            what=f"route {route.generation}: {describe(route)}",
            why=route.why,
            before=None if before is None else describe(before),
            after=describe(route),
            world_time=route.changed_at,
        )


def full_traffic(version: str, standby: str | None) -> tuple[Arm, ...]:
    """All traffic to one version, with another warm beside it."""
    return (Arm(CHAMPION_ARM, version, 1.0), *((Arm(STANDBY_ARM, standby, 0.0),) if standby else ()))


def describe(route: Route) -> str:
    """A route in words: `canary: champion 1 90 %, challenger 2 10 %`."""
    arms = ", ".join(f"{a.name} {a.version} {'shadow' if a.mode == 'shadow' else f'{a.weight:.4g}'}" for a in route.arms)
    return f"{route.strategy}: {arms}"


def require_version(registry: ModelRegistry, model: str, alias: str) -> str:
    """The version that holds a role. Raises UnknownVersionError."""
    found = registry.by_alias(model, alias)
    if found is None:
        raise UnknownVersionError(f"{model}: no version is its {alias}")
    return found.version
