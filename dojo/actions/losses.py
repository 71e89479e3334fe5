"""The answer to a loss of Redis.

A person has looked at what was put back, and lets automatic actions go on.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from dojo.actions.desk import Desk, reason
from dojo.actions.errors import NothingToActOnError
from dojo.core.registry.promotion import describe
from dojo.core.registry.versions import CHALLENGER, CHAMPION, PREVIOUS_CHAMPION
from dojo.core.state.audit import Entry
from dojo.core.state.clock import wall_now
from dojo.core.state.loss import RedisLoss, loss_document, open_loss
from dojo.core.state.rollouts import Rollout
from dojo.core.state.routes import Route, disagreement


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a model after a loss.

    Attributes:
        route: The route as it was put back. None where the registry's champion serves without one.
        rollout: The active rollout. Its evidence begins anew.
        roles: Version by role, from the registry.
    """

    model: str
    route: Route | None
    rollout: Rollout | None
    roles: dict[str, str | None]

    def __str__(self) -> str:
        champion = self.roles[CHAMPION]
        told = [
            (
                f"route {describe(self.route)}"
                if self.route
                else "no route, the registry's champion serves"
            )
        ]
        told += [f"champion {champion or 'none'}"]
        told += (
            [f"rollout of version {self.rollout.version} in {self.rollout.stage}"]
            if self.rollout
            else []
        )
        told += [objection] if (objection := disagreement(self.route, champion or "")) else []
        return f"{self.model}: {'; '.join(told)}"


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """A loss, and the state from which automatic actions would go on."""

    loss: RedisLoss
    standing: tuple[Standing, ...]

    def __str__(self) -> str:
        return "\n".join(
            [f"{self.loss}.", *map(str, self.standing), "Automatic actions go on from this."]
        )


def plan_restore(desk: Desk) -> RestorePlan:
    """Read the state after a loss.

    Raises:
        NothingToActOnError: No loss waits for an answer.
        RegistryUnavailableError: The roles are not known.
    """
    loss = open_loss(desk.redis)
    if loss is None:
        raise NothingToActOnError("Redis has lost nothing that waits for an answer", "dojo status")
    return RestorePlan(loss, tuple(_standing(desk, model) for model in desk.models))


def restore(desk: Desk, plan: RestorePlan, who: str, why: str) -> RedisLoss:
    """Write what the trail lacks about roles and routes, and let automatic actions go on.

    It may be repeated.

    Raises:
        NothingToActOnError, ConflictError: The loss was answered meanwhile, or more was lost.
    """
    why, now = reason(why), desk.now_if_set()
    document = loss_document(desk.redis)
    stored = document.read()
    if stored.value != plan.loss:
        raise NothingToActOnError(
            "the loss is not the one that was shown", "dojo restore --why ... shows it anew"
        )
    for standing in plan.standing:
        for entry in _entries(plan.loss, standing, who, why):
            if not any(
                (one.kind, one.model) == (entry.kind, entry.model) for one in desk.audit.entries()
            ):
                desk.audit.record(entry)
    answered = msgspec.structs.replace(plan.loss, answered_by=who)
    entry = Entry(
        entry_id=f"{plan.loss.entry_id}:answered:{wall_now().isoformat()}",
        kind="world",
        model="platform",
        who=who,
        what="automatic actions go on after a loss of Redis",
        why=why,
        before=plan.loss,
        after=answered,
        world_time=now,
    )
    document.replace(stored.revision, answered, entry)
    return answered


def _standing(desk: Desk, model: str) -> Standing:
    rollout = desk.rollouts.get(model)
    roles = {
        alias: desk.registry.by_alias(model, alias)
        for alias in (CHAMPION, PREVIOUS_CHAMPION, CHALLENGER)
    }
    return Standing(
        model=model,
        route=desk.routes.get(model),
        rollout=rollout if rollout is not None and rollout.active else None,
        roles={alias: version.version if version else None for alias, version in roles.items()},
    )


def _entries(loss: RedisLoss, standing: Standing, who: str, why: str) -> list[Entry]:
    """The entries that the responder needs from the trail.

    They say which version is champion, which was before, and since when the route stands.
    """
    model, route, found = standing.model, standing.route, []
    if standing.roles[CHAMPION] is not None:
        found.append(
            Entry(
                entry_id=f"{loss.entry_id}:{model}:alias",
                kind="alias",
                model=model,
                who=who,
                what=(
                    f"version {standing.roles[CHAMPION]} is champion, as the registry says; earlier"
                    " entries are lost"
                ),
                why=why,
                after=standing.roles,
                world_time=None,
            )
        )
    if route is not None:
        found.append(
            Entry(
                entry_id=f"{loss.entry_id}:{model}:route",
                kind="route",
                model=model,
                who=who,
                what=(
                    f"route {route.generation}: {describe(route)}; it stands since"
                    f" {route.changed_at:%Y-%m-%d %H:%M}"
                ),
                why=f"{why} (made by {route.who}: {route.why}; earlier entries are lost)",
                after=route,
                world_time=route.changed_at,
            )
        )
    return found
