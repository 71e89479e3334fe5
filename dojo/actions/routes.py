"""Changing which versions answer a model's traffic. The registry's roles stay as they are.

A change is planned, shown to the person, and made. The plan carries the generation of its route. So
a route that changed in between is not overwritten.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import cast

from dojo.actions.desk import Desk
from dojo.actions.errors import NothingToActOnError, WrongCallError
from dojo.actions.registry import require_champion
from dojo.core.registry.errors import RegistryUnavailableError
from dojo.core.registry.promotion import Change, describe, full_traffic
from dojo.core.registry.versions import CHAMPION
from dojo.core.state.routes import CHALLENGER_ARM, CHAMPION_ARM, STANDBY_ARM, Arm, Route, Strategy


class Wanted(StrEnum):
    """Strategies as a person spells them."""

    CHAMPION = "champion"
    BLUE_GREEN = "blue-green"
    AB = "ab"
    CANARY = "canary"
    SHADOW = "shadow"

    @property
    def strategy(self) -> Strategy:
        return cast("Strategy", self.value.replace("-", "_"))


# The challenger's share where none is given. The other strategies take none.
DEFAULT_WEIGHTS = {Wanted.AB: 0.5, Wanted.CANARY: 0.1}


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """A route that may become the current one.

    Attributes:
        current: The route when the plan was made. None where the registry's champion serves.
        salt: Decides which entities go to which arm.
    """

    model: str
    strategy: Strategy
    arms: tuple[Arm, ...]
    salt: str
    current: Route | None

    def __str__(self) -> str:
        now = describe(self.current) if self.current else "the registry's champion"
        arms = ", ".join(f"{a.name} {a.version} {a.weight:.4g} {a.mode}" for a in self.arms)
        return f"{self.model}: {self.strategy}, {arms}; now {now}."


def plan_route(
    desk: Desk,
    model: str,
    strategy: Wanted,
    change: Change,
    challenger: str = "",
    weight: float | None = None,
) -> RoutePlan:
    """Plan a strategy whose first arm is the registry's champion.

    Args:
        challenger: The other version. The strategy `champion` takes none.
        weight: The challenger's share of the traffic, 0 to 1. None takes the strategy's default.

    Raises:
        WrongCallError: The arguments do not fit each other, or the model is unknown.
        RolloutDecidesError: A rollout is active.
        NothingToActOnError: The model has no champion.
        UnknownVersionError: The registry does not know the challenger.
        RegistryUnavailableError: The registry is away.
    """
    if (strategy is Wanted.CHAMPION) == bool(challenger):
        raise WrongCallError(
            f"--strategy {strategy} {'takes no' if challenger else 'needs a'} --challenger"
        )
    if weight is not None and strategy not in DEFAULT_WEIGHTS:
        raise WrongCallError(
            f"--strategy {strategy} takes no --weight: only ab and canary split the traffic"
        )
    desk.refuse_during_a_rollout(desk.require_model(model))
    current, champion = desk.routes.get(model), require_champion(desk, model)
    if challenger:
        desk.registry.get(model, challenger)
    arms = arms_of(
        strategy,
        champion.version,
        challenger,
        DEFAULT_WEIGHTS.get(strategy, 0.0) if weight is None else weight,
    )
    return RoutePlan(
        model, strategy.strategy, arms, salt_of(current, strategy, arms, change), current
    )


def plan_switch(desk: Desk, model: str) -> RoutePlan:
    """Plan to give all traffic to the warm standby, and to keep the other version warm.

    It needs no registry.

    Raises:
        RolloutDecidesError: A rollout is active.
        NothingToActOnError: No version is warm.
    """
    desk.refuse_during_a_rollout(desk.require_model(model))
    current = desk.routes.get(model)
    standby = current.arm(STANDBY_ARM) if current else None
    if current is None or standby is None:
        raise NothingToActOnError(
            f"{model}: nothing is warm to switch to (the route is"
            f" {describe(current) if current else 'the champion'})",
            f"dojo routes set {model} --strategy blue-green --challenger VERSION --why ...",
        )
    return RoutePlan(
        model,
        "blue_green",
        full_traffic(standby.version, current.primary.version),
        current.salt,
        current,
    )


def change_route(desk: Desk, plan: RoutePlan, change: Change) -> Route:
    """Make a plan the current route. Raises ConflictError: The route changed since the plan."""
    expected = plan.current.generation if plan.current else 0
    return desk.role_changes.route(
        plan.model, plan.strategy, plan.arms, change, salt=plan.salt, expected=expected
    )


def champion_if_known(desk: Desk, model: str) -> str | None:
    """The registry's champion. "" for none, None while the registry is away."""
    try:
        found = desk.registry.by_alias(model, CHAMPION)
    except RegistryUnavailableError:
        return None
    return found.version if found else ""


def arms_of(strategy: Wanted, champion: str, challenger: str, weight: float) -> tuple[Arm, ...]:
    """The arms of a strategy. `weight` is the challenger's share of the traffic."""
    match strategy:
        case Wanted.CHAMPION:
            return full_traffic(champion, None)
        case Wanted.BLUE_GREEN:
            return full_traffic(champion, challenger)
        case Wanted.SHADOW:
            return (
                Arm(CHAMPION_ARM, champion, 1.0),
                Arm(CHALLENGER_ARM, challenger, 0.0, "shadow"),
            )
        case Wanted.AB | Wanted.CANARY:
            return (
                Arm(CHAMPION_ARM, champion, 1 - weight),
                Arm(CHALLENGER_ARM, challenger, weight),
            )


def salt_of(current: Route | None, strategy: Wanted, arms: tuple[Arm, ...], change: Change) -> str:
    """The salt that groups entities into arms.

    A new experiment takes new groups. A canary of the same versions keeps its groups, so that it
    only grows.
    """
    if current is not None and current.strategy == strategy.strategy:
        if current.arms == arms:
            return current.salt
        same_versions = [arm.version for arm in current.arms] == [arm.version for arm in arms]
        if strategy is Wanted.CANARY and same_versions:
            return current.salt
    return f"{strategy}-{change.world_time:%Y%m%dT%H%M%S}-{change.key[-8:]}"
