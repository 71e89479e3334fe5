"""What a strategy on the command line means: its arms, and which entities it puts where. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import cast

from dojo.core.registry.promotion import Change, full_traffic
from dojo.core.state.routes import CHALLENGER_ARM, CHAMPION_ARM, Arm, Route, Strategy


class Wanted(StrEnum):
    """Strategies as they are spelt on the command line."""

    CHAMPION = "champion"
    BLUE_GREEN = "blue-green"
    AB = "ab"
    CANARY = "canary"
    SHADOW = "shadow"

    @property
    def strategy(self) -> Strategy:
        return cast("Strategy", self.value.replace("-", "_"))


# The challenger's share where --weight is not given; the others take no weight.
DEFAULT_WEIGHTS = {Wanted.AB: 0.5, Wanted.CANARY: 0.1}


def arms_of(strategy: Wanted, champion: str, challenger: str, weight: float) -> tuple[Arm, ...]:
    """The arms of a strategy. `weight`: the challenger's share of the traffic."""
    match strategy:
        case Wanted.CHAMPION:
            return full_traffic(champion, None)
        case Wanted.BLUE_GREEN:
            return full_traffic(champion, challenger)
        case Wanted.SHADOW:
            return (Arm(CHAMPION_ARM, champion, 1.0), Arm(CHALLENGER_ARM, challenger, 0.0, "shadow"))
        case Wanted.AB | Wanted.CANARY:
            return (Arm(CHAMPION_ARM, champion, 1 - weight), Arm(CHALLENGER_ARM, challenger, weight))


def salt_of(current: Route | None, strategy: Wanted, arms: tuple[Arm, ...], change: Change) -> str:
    """A new experiment takes new groups. A canary of the same versions keeps its own, so that it only grows."""
    if current is not None and current.strategy == strategy.strategy:
        if current.arms == arms:
            return current.salt
        same_versions = [arm.version for arm in current.arms] == [arm.version for arm in arms]
        if strategy is Wanted.CANARY and same_versions:
            return current.salt
    return f"{strategy}-{change.world_time:%Y%m%dT%H%M%S}-{change.key[-8:]}"
