"""The route of each stage. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from dojo.core.judging.rollout.stages import Stage
from dojo.core.registry.promotion import full_traffic
from dojo.core.spec.schema import ModelSpec
from dojo.core.state.rollouts import Rollout
from dojo.core.state.routes import CHALLENGER_ARM, CHAMPION_ARM, Arm, Route, Strategy


@dataclass(frozen=True, slots=True)
class StageRoute:
    """A route without its generation."""

    strategy: Strategy
    arms: tuple[Arm, ...]
    salt: str

    def is_served_by(self, route: Route | None) -> bool:
        return route is not None and (route.strategy, route.arms, route.salt) == (
            self.strategy,
            self.arms,
            self.salt,
        )


def route_of(rollout: Rollout, spec: ModelSpec) -> StageRoute:
    """Return the route of traffic in the rollout's stage. The first arm stands in for failures.

    Raises:
        ValueError: The stage has no route of its own.
    """
    weight = spec.rollout.canary_weight
    match rollout.stage:
        case Stage.SHADOW:
            arms = (
                Arm(CHAMPION_ARM, rollout.champion, 1.0),
                Arm(CHALLENGER_ARM, rollout.version, 0.0, "shadow"),
            )
            return StageRoute("shadow", arms, rollout.id)
        case Stage.CANARY:
            arms = (
                Arm(CHAMPION_ARM, rollout.champion, 1 - weight),
                Arm(CHALLENGER_ARM, rollout.version, weight),
            )
            return StageRoute("canary", arms, rollout.id)
        case Stage.WATCH:
            return StageRoute(
                "blue_green", full_traffic(rollout.version, rollout.champion), rollout.id
            )
        case Stage.DONE:
            return StageRoute("champion", full_traffic(rollout.version, None), rollout.id)
        case _:
            raise ValueError(f"stage {rollout.stage} keeps the route of the one before")
