"""A route with its versions at hand: what the hot path asks who answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from dojo.core.state.routes import CHAMPION_ARM, Arm, Route, pick, position
from services.gateway.features.lookup import FeaturePlan
from services.gateway.versions.serving import ScorableVersion, ServedModel

# Strategies whose first arm alone has earned trust; the others are scored in a process of their own.
EXPERIMENTS = frozenset({"shadow", "canary", "ab"})

NO_ROUTE = datetime.fromtimestamp(0, UTC)


def is_trusted(route: Route, arm: Arm) -> bool:
    """Whether an arm's version may be scored in this process."""
    return arm is route.arms[0] or (route.strategy not in EXPERIMENTS and arm.mode == "live")


def registrys_route(model: str, version: str) -> Route:
    """What a model without a route is served by: the registry's champion, as generation 0."""
    return Route(
        model=model,
        generation=0,
        strategy="champion",
        arms=(Arm(CHAMPION_ARM, version, 1.0),),
        salt="",
        changed_at=NO_ROUTE,
        who="registry",
        why="there is no route: the registry's champion serves",
    )


def stand_in_route(wanted: Route, version: str) -> Route:
    """What serves after a start while `wanted` is not whole: one version alone. Generation 0, because its split does not happen:
    an experiment must not count these answers as its champion's."""
    return Route(
        model=wanted.model,
        generation=0,
        strategy="champion",
        arms=(Arm(wanted.arms[0].name, version, 1.0),),
        salt="",
        changed_at=wanted.changed_at,
        who="gateway",
        why=f"the gateway has just started: version {version} answers alone until all of generation {wanted.generation} is here",
    )


@dataclass(frozen=True, slots=True, eq=False)
class ServedArm:
    """One arm and its version.

    Attributes:
        plan: how its inputs are made. Arms that want the same features in the same order share one plan (the first such arm's),
            and so one lookup and one row.
    """

    arm: Arm
    served: ScorableVersion
    plan: FeaturePlan

    @property
    def name(self) -> str:
        return self.arm.name

    @property
    def version(self) -> str:
        return self.served.version


@dataclass(frozen=True, slots=True, eq=False)
class ServedRoute:
    """A route that can answer.

    Attributes:
        live: in the route's order, which is the order in which they stand in for one that fails.
        only: the arm that gets everything, when there is no choice to make.
    """

    route: Route
    live: tuple[ServedArm, ...]
    shadow: ServedArm | None
    only: ServedArm | None
    by_name: Mapping[str, ServedArm]

    def choose(self, key: str) -> ServedArm:
        """The arm of an entity: the same one for as long as the route's salt and weights last."""
        return self.only or self.by_name[pick(self.route.arms, position(self.route.salt, key)).name]

    @property
    def primary(self) -> ServedArm:
        """The live arm with the most traffic."""
        return self.by_name[self.route.primary.name]

    @property
    def arms(self) -> tuple[ServedArm, ...]:
        return tuple(self.by_name.values())

    def pinned(self) -> ServedRoute:
        """The same, for a caller who asked for the primary's version by name."""
        return dataclasses.replace(self, only=self.primary)


def served_route(route: Route, versions: Sequence[ScorableVersion]) -> ServedRoute:
    """versions: one per arm, in order."""
    plans: dict[tuple[str, tuple[str, ...]], FeaturePlan] = {}
    arms = [
        ServedArm(arm, served, plans.setdefault((served.bundle.feature_service, served.bundle.features), served.plan))
        for arm, served in zip(route.arms, versions, strict=True)
    ]
    live = tuple(arm for arm in arms if arm.arm.mode == "live")
    return ServedRoute(
        route=route,
        live=live,
        shadow=next((arm for arm in arms if arm.arm.mode == "shadow"), None),
        only=next((arm for arm in live if arm.arm.weight == 1.0), None),
        by_name={arm.name: arm for arm in arms},
    )


def champion_route(served: ServedModel, model: str, wanted: Route | None = None) -> ServedRoute:
    """One version alone: the registry's champion, or who stands in while `wanted` is not whole."""
    route = registrys_route(model, served.version) if wanted is None else stand_in_route(wanted, served.version)
    return served_route(route, [served])


def describe(serving: ServedRoute) -> dict[str, object]:
    """A route as people and clients are told of it."""
    route = serving.route
    return {
        "generation": route.generation,
        "strategy": route.strategy,
        "why": route.why,
        "arms": [
            {
                "name": arm.name,
                "version": arm.version,
                "weight": arm.arm.weight,
                "mode": arm.arm.mode,
                "state": arm.served.state,
            }
            for arm in serving.arms
        ],
    }
