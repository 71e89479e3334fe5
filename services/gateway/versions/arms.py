"""A route with its loaded versions. The hot path asks it for the arm that answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from dojo.core.state.routes import CHAMPION_ARM, Arm, Route
from services.gateway.features.lookup import FeaturePlan
from services.gateway.versions.serving import ScorableVersion

# Strategies that trust only their first arm. Each other arm is scored in a process of its own.
EXPERIMENTS = frozenset({"shadow", "canary", "ab", "bandit"})

NO_ROUTE = datetime.fromtimestamp(0, UTC)


def is_trusted(route: Route, arm: Arm) -> bool:
    """Whether an arm's version may be scored in this process."""
    return arm is route.arms[0] or (route.strategy not in EXPERIMENTS and arm.mode == "live")


def registrys_route(model: str, version: str) -> Route:
    """Return the route of a model without a route: the registry's champion, as generation 0."""
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
    """Return one version alone, for a start while `wanted` is not complete.

    It has generation 0, because the split of `wanted` does not happen. An experiment must not count
    these answers as its champion's.
    """
    return Route(
        model=wanted.model,
        generation=0,
        strategy="champion",
        arms=(Arm(wanted.arms[0].name, version, 1.0),),
        salt="",
        changed_at=wanted.changed_at,
        who="gateway",
        why=(
            f"the gateway has just started: version {version} answers alone until all of generation"
            f" {wanted.generation} is here"
        ),
    )


@dataclass(frozen=True, slots=True, eq=False)
class ServedArm:
    """One arm and its version.

    Attributes:
        plan: How to make its inputs. Arms with the same features in the same order share the plan
            of the first such arm. They also share one lookup and one row.
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
        live: The live arms in the route's order. In this order they stand in for a failing arm.
        only: The arm that gets all traffic. None while the route has to choose.
        is_pinned: True if a caller named the version of `only`.
        in_context: Plan of all live arms, if the shares depend on the request and the arms share
            it. None where the weights alone decide.
    """

    route: Route
    live: tuple[ServedArm, ...]
    shadow: ServedArm | None
    only: ServedArm | None
    by_name: Mapping[str, ServedArm]
    is_pinned: bool = False
    in_context: FeaturePlan | None = None

    def choose(
        self, entity: str, request_id: str = "", row: Mapping[str, float] | None = None
    ) -> tuple[ServedArm, float]:
        """Return a request's arm, and the probability with which it was drawn (0 when pinned).

        Args:
            entity: Key of the model's first entity.
            request_id: The caller's id for the request.
            row: Feature name -> value, for a route with `in_context`.
        """
        if self.only is not None:
            return self.only, 0.0 if self.is_pinned else 1.0
        arm, probability = self.route.at(self.route.drawn_for(entity, request_id), row)
        return self.by_name[arm.name], probability

    @property
    def primary(self) -> ServedArm:
        """The live arm with the most traffic."""
        return self.by_name[self.route.primary.name]

    @property
    def arms(self) -> tuple[ServedArm, ...]:
        return tuple(self.by_name.values())

    def pinned(self) -> ServedRoute:
        """Return the route with only its primary, for a caller who named that version."""
        return dataclasses.replace(self, only=self.primary, is_pinned=True, in_context=None)


def is_idle(route: Route, arm: Arm) -> bool:
    """Whether a live arm gets no request: a warm standby."""
    return arm.mode == "live" and arm.weight == 0 and route.draw.context is None


def served_route(route: Route, versions: Sequence[ScorableVersion | None]) -> ServedRoute:
    """Return the served form of a route.

    Args:
        versions: One per arm, in order. None leaves out an idle arm.
    """
    plans: dict[tuple[str, tuple[str, ...]], FeaturePlan] = {}
    arms = [
        ServedArm(
            arm,
            served,
            plans.setdefault((served.bundle.feature_service, served.bundle.features), served.plan),
        )
        for arm, served in zip(route.arms, versions, strict=True)
        if served is not None
    ]
    live = tuple(arm for arm in arms if arm.arm.mode == "live")
    shared = {arm.plan for arm in live}
    return ServedRoute(
        route=route,
        live=live,
        shadow=next((arm for arm in arms if arm.arm.mode == "shadow"), None),
        only=next((arm for arm in live if arm.arm.weight == 1.0), None),
        by_name={arm.name: arm for arm in arms},
        in_context=shared.pop() if route.draw.context is not None and len(shared) == 1 else None,
    )


def champion_route(served: ScorableVersion, model: str, wanted: Route | None = None) -> ServedRoute:
    """Return a route of one version: the champion, or the stand-in while `wanted` is incomplete."""
    route = (
        registrys_route(model, served.version)
        if wanted is None
        else stand_in_route(wanted, served.version)
    )
    return served_route(route, [served])


def describe(serving: ServedRoute) -> dict[str, object]:
    """Return a route as a document for people and clients."""
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
