"""Changing the champion: registry and route together, in the audit trail.

A change that was killed at any point can be repeated.

Promotion gives the role first and the traffic second. So a version that the registry refuses never
gets traffic. Rollback takes the traffic away first. That needs only Redis, and must not wait
for MLflow (docs/adr/0011-routes-and-roles.md).

A route and its audit entry are one write. A role and its entry are in two stores. The entry follows
the role, and a repetition of the change writes what is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

from dojo.core.registry.errors import NoPreviousChampionError
from dojo.core.registry.tags import VersionTags
from dojo.core.registry.versions import CHALLENGER, CHAMPION, PREVIOUS_CHAMPION, ModelRegistry
from dojo.core.state.atomic import ConflictError
from dojo.core.state.audit import AuditTrail, Entry
from dojo.core.state.draws import Draw
from dojo.core.state.routes import (
    CHAMPION_ARM,
    STANDBY_ARM,
    Arm,
    Route,
    RouteTable,
    Strategy,
)


class TrafficElsewhereError(RuntimeError):
    """Other versions than the champion answer traffic.

    The message names them and the command that resolves it.
    """


@dataclass(frozen=True, slots=True)
class Change:
    """Why something is changed.

    Attributes:
        key: Names this one change for good, so that its repetition is recognised.
    """

    key: str
    who: str
    why: str
    world_time: datetime


@dataclass(frozen=True, slots=True)
class RoleChanges:
    """The registry's roles, the routes and the audit trail, changed together."""

    registry: ModelRegistry
    routes: RouteTable
    audit: AuditTrail

    def promote(self, model: str, version: str, change: Change, keep_standby: bool = True) -> Route:
        """Make `version` the champion and give it all traffic.

        With `keep_standby` the old champion stays warm beside it.

        Raises:
            UnknownVersionError, RegistryUnavailableError: Nothing or only the role was changed.
                Repeat it.
            ConflictError, redis.RedisError: Repeat it.
        """
        before = self._holder(model, CHAMPION)
        self.registry.promote(model, version)
        previous = self._holder(model, PREVIOUS_CHAMPION)
        self._record_champion(
            model, version, before, previous, f"version {version} became champion", change
        )
        standby = previous if keep_standby else None
        return self.route(
            model, "blue_green" if standby else "champion", full_traffic(version, standby), change
        )

    def roll_back(
        self, model: str, change: Change, to: str | None = None, rejected: str = ""
    ) -> Route:
        """Give all traffic, then the role, back to `to` (default: the previous champion).

        Args:
            rejected: The version that loses the traffic. It may never have become champion (a
                failed canary).

        Raises:
            NoPreviousChampionError: Nothing was changed.
            RegistryUnavailableError: With `to` given, the traffic has moved and the role has not.
                Repeat it.
            UnknownVersionError: The registry does not know `to`. Check it before, because the
                traffic has moved.
        """
        if to is None:
            to = self._holder(model, PREVIOUS_CHAMPION)
            if to is None:
                raise NoPreviousChampionError(
                    f"{model}: no version is its previous champion; promote one instead"
                )
        route = self.route(model, "champion", full_traffic(to, None), change)
        before = self._holder(model, CHAMPION)
        self.registry.roll_back(model, to, change.why, rejected)
        previous = self._holder(model, PREVIOUS_CHAMPION)
        self._record_champion(
            model, to, before, previous, f"version {to} is champion again", change
        )
        return route

    def was_made_champion(self, model: str, champion: str | None) -> bool:
        """Whether the platform itself made a version champion. Raises redis.RedisError.

        True when the trail's newest entry says so, or when a route gives it most of the traffic. A
        rollback moves the traffic first. Also true where the trail says nothing.
        """
        told, route = self.audit.newest_champion(model), self.routes.get(model)
        if told is None or told.after["champion"] == champion:
            return True
        return route is not None and route.primary.version == champion

    def put_back(self, model: str, version: str, change: Change) -> None:
        """Give the champion's role back to a version that lost it past the platform.

        Traffic stays as it is.

        Raises:
            UnknownVersionError, RegistryUnavailableError, ConflictError, redis.RedisError: Repeat
                it.
        """
        before = self._holder(model, CHAMPION)
        self.registry.put_back(model, version)
        previous = self._holder(model, PREVIOUS_CHAMPION)
        what = f"version {version} got the champion's role back"
        self._record_champion(model, version, before, previous, what, change)

    def retire(self, model: str, change: Change) -> None:
        """Record that no version is champion, and remove the route.

        The model's next training is then its first.

        Raises:
            ConflictError, redis.RedisError: Repeat it.
        """
        found, told = self.routes.read(model), self.audit.newest_champion(model)
        entry = Entry(
            entry_id=f"{change.key}:retired",
            kind="alias",
            model=model,
            who=change.who,
            what="no version is champion any more",
            why=change.why,
            before={"champion": told.after["champion"] if told else None, "route": found.value},
            after={"champion": None, "previous_champion": None, "challenger": None},
            world_time=change.world_time,
        )
        self.routes.remove(model, found, entry)

    def route(
        self,
        model: str,
        strategy: Strategy,
        arms: tuple[Arm, ...],
        change: Change,
        salt: str = "",
        expected: int | None = None,
        draw: Draw | None = None,
        recorded: bool = True,
    ) -> Route:
        """Make a route the current one and record it, in one write.

        A route that already is as wanted stays.

        Args:
            expected: Generation that the change was decided on. None accepts any current route.
            draw: What is drawn an arm for. None for entities.
            recorded: False for a small step of a bandit, which only the route's generation shows.

        Raises:
            ConflictError, redis.RedisError: Repeat it.
        """
        found = self.routes.read(model)
        current = found.value
        generation = current.generation if current else 0
        if expected is not None and generation != expected:
            raise ConflictError(
                f"{model}: expected route generation {expected}, found {generation}: it was changed"
                " meanwhile"
            )
        wanted = Route(
            model=model,
            generation=generation + 1,
            strategy=strategy,
            arms=arms,
            salt=salt or (current.salt if current else model),
            changed_at=change.world_time,
            who=change.who,
            why=change.why,
            draw=draw or Draw(),
        )
        if current is not None and _serves_the_same(current, wanted):
            return current
        self.routes.replace(
            found,
            wanted,
            Entry(
                entry_id=f"route:{model}:{wanted.generation}:{uuid4().hex[:8]}",
                kind="route",
                model=model,
                who=change.who,
                what=f"route {wanted.generation}: {describe(wanted)}",
                why=change.why,
                before=current,
                after=wanted,
                world_time=change.world_time,
            )
            if recorded
            else None,
        )
        return wanted

    def _holder(self, model: str, alias: str) -> str | None:
        found = self.registry.by_alias(model, alias)
        return found.version if found else None

    def _record_champion(
        self,
        model: str,
        version: str,
        before: str | None,
        previous: str | None,
        what: str,
        change: Change,
    ) -> None:
        """Record that `version` became champion, if that is news.

        The entry is anchored here and in the registry.

        Args:
            before: The champion when this attempt began. It is `version` itself when nothing
                changed, or when an earlier attempt was killed after it had moved the role. Then
                the trail tells the two cases apart.
        """
        newest = self.audit.newest_champion(model)
        told = newest.after["champion"] if newest else None
        if before != version or told != version:
            self.audit.append(
                # The sequence lets a role change again under one key, after another change. After
                # one entry it changes only once.
                entry_id=f"{change.key}:alias:{newest.sequence if newest else 0}",
                kind="alias",
                model=model,
                who=change.who,
                what=what,
                why=change.why,
                before={"champion": before if before != version else told or previous},
                after={
                    "champion": version,
                    "previous_champion": previous,
                    "challenger": self._holder(model, CHALLENGER),
                    "tags": self.registry.get(model, version).tags.recorded().written(),
                },
                world_time=change.world_time,
            )
            newest = self.audit.newest_champion(model)
        if newest is not None:
            self.registry.seals.anchor(newest.sequence, newest.hash)
            self.registry.tag(model, version, VersionTags(anchors={newest.sequence: newest.hash}))


def _serves_the_same(one: Route, other: Route) -> bool:
    return (one.strategy, one.arms, one.salt, one.draw) == (
        other.strategy,
        other.arms,
        other.salt,
        other.draw,
    )


def anchors(registry: ModelRegistry) -> Mapping[int, str]:
    """The audit entries that the registry remembers, sequence -> hash.

    Raises RegistryUnavailableError.
    """
    return {
        sequence: value
        for model in registry.models()
        for version in registry.versions(model)
        for sequence, value in version.tags.anchors.items()
    }


def full_traffic(version: str, standby: str | None) -> tuple[Arm, ...]:
    """All traffic to one version, with another warm beside it."""
    return (
        Arm(CHAMPION_ARM, version, 1.0),
        *((Arm(STANDBY_ARM, standby, 0.0),) if standby else ()),
    )


def describe(route: Route) -> str:
    """A route in words: `canary: champion 1 90 %, challenger 2 10 %`."""
    arms = ", ".join(
        f"{a.name} {a.version} {'shadow' if a.mode == 'shadow' else f'{a.weight:.4g}'}"
        for a in route.arms
    )
    return f"{route.strategy}: {arms}"


def require_champions_traffic(routes: RouteTable, model: str, champion: str) -> None:
    """Require that only the champion answers. A rollout compares with it and goes back to it.

    Args:
        champion: The version that has the role in the registry.

    Raises:
        TrafficElsewhereError: Another version has traffic, alone or beside the champion.
        redis.RedisError: The routes are out of reach.
    """
    route = routes.get(model)
    if route is None or all(
        arm.version == champion for arm in route.arms if arm.mode == "live" and arm.weight > 0
    ):
        return
    raise TrafficElsewhereError(
        f"{model}: version {champion} is champion, but the traffic follows {describe(route)} (by"
        f" {route.who}: {route.why}). Give it to the champion: dojo routes set {model} --strategy"
        " champion --why ..., or give the role to who answers: dojo models promote"
        f" {model}@{route.primary.version} --why ..."
    )
