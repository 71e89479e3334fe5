"""Events of a gateway with a rollout's route, for tests of consumers. Seeded."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np

from dojo.core.events.types import Event, Outcome, Prediction, Shadow
from dojo.core.state.clock import wall_now
from dojo.core.state.routes import Arm, Route


@dataclass(frozen=True)
class Quality:
    """How a version behaves, as rates per request.

    `scores` are the Beta parameters of its scores. Flags are drawn separately from scores.
    """

    errors: float = 0.005
    slow: float = 0.01
    flagged: float = 0.015
    degraded: float = 0.02
    scores: tuple[float, float] = (0.3, 8.0)


WALL_START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Gateway:
    """Answers payments of customers along a route. Some customers pay far more often than others.

    Attributes:
        qualities: Version -> its behaviour.
        seed: Seed of the events.
        model: The model.
        customers: Number of customers.
        moody: True if failures, flags and slowness repeat for some customers. Each customer then
            has a fixed mood, and every 20th customer has 20 times the rates.
        per_second: Requests per second of wall time.
        features: Number of a customer -> the features of its requests.
    """

    qualities: dict[str, Quality]
    seed: int = 1
    model: str = "fraud_detection"
    customers: int = 2000
    moody: bool = True
    per_second: float = 20
    features: Callable[[int], dict[str, float]] = lambda _: {}
    _ids: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)
        activity = self._rng.lognormal(0, 1, self.customers)
        self._cumulative = np.cumsum(activity / activity.sum())
        moods = (
            np.where(np.arange(self.customers) % 20 == 0, 20.0, 1.0)
            if self.moody
            else np.ones(self.customers)
        )
        # Keeps the average rates unchanged.
        self._moods = moods / (moods * activity / activity.sum()).sum()

    def answer(self, route: Route, at: datetime) -> list[Event]:
        """Return one payment's events: its prediction, and its shadow if the route has one."""
        number = int(np.searchsorted(self._cumulative, self._rng.random()))
        customer, mood = f"c{number}", float(self._moods[min(number, self.customers - 1)])
        shadow = next((arm for arm in route.arms if arm.mode == "shadow"), None)
        count = next(self._ids)
        request_id, wall = (
            f"{self.model}-{self.seed}-{count}",
            WALL_START + timedelta(seconds=count / self.per_second),
        )
        features = self.features(number)
        arm, propensity = route.at(route.drawn_for(customer, request_id), features)
        prediction = self._predict(route, arm, customer, mood, request_id, at, wall)
        prediction = msgspec.structs.replace(prediction, features=features, propensity=propensity)
        return [prediction] + ([self._shadow(route, shadow, prediction, mood)] if shadow else [])

    def outcome(
        self,
        prediction: Prediction,
        after: timedelta,
        if_flagged: float = 0.6,
        if_passed: float = 0.006,
    ) -> Outcome:
        """Return the label of an answered payment.

        Fraud has one probability among the flagged and another among the rest. With 1.5 % flagged,
        the defaults give 1.5 % positives. 60 % of them are caught, and 0.6 % of the others are
        flagged.
        """
        fraud = self._rng.random() < (if_flagged if prediction.flagged else if_passed)
        return Outcome(
            event_id=Outcome.id_for(prediction.model, prediction.request_id),
            world_time=prediction.world_time + after,
            wall_time=wall_now(),
            model=prediction.model,
            request_id=prediction.request_id,
            request_time=prediction.world_time,
            label=int(fraud),
        )

    def _predict(
        self,
        route: Route,
        arm: Arm,
        customer: str,
        mood: float,
        request_id: str,
        at: datetime,
        wall: datetime,
    ) -> Prediction:
        quality = self.qualities[arm.version]
        failed = self._happens(quality.errors, mood)
        standing_in = next(
            (other for other in route.arms if other.mode == "live" and other.name != arm.name), None
        )
        version = (standing_in.version if standing_in else "0") if failed else arm.version
        degraded = (("arm_failed",) if standing_in else ("model_unavailable",)) if failed else ()
        degraded += ("cold_start",) if self._happens(quality.degraded, mood) else ()
        answering = self.qualities.get(version, quality)
        return Prediction(
            event_id=Prediction.id_for(request_id),
            world_time=at,
            wall_time=wall,
            prediction_id=request_id,
            request_id=request_id,
            model=self.model,
            version=version,
            arm=arm.name,
            entity_keys={"customer": customer, "merchant": "m1"},
            features={},
            feature_age_seconds={},
            score=float(self._rng.beta(*answering.scores)),
            flagged=self._happens(answering.flagged, mood),
            latency_seconds=0.08 if self._happens(quality.slow, mood) else 0.002,
            degraded=degraded,
            route_generation=route.generation,
        )

    def _shadow(self, route: Route, arm: Arm, mirrored: Prediction, mood: float) -> Shadow:
        quality = self.qualities[arm.version]
        failed = self._happens(quality.errors, mood)
        return Shadow(
            event_id=Shadow.id_for(mirrored.prediction_id),
            world_time=mirrored.world_time,
            wall_time=mirrored.wall_time,
            prediction_id=mirrored.prediction_id,
            request_id=mirrored.request_id,
            model=self.model,
            version=arm.version,
            route_generation=route.generation,
            score=None if failed else float(self._rng.beta(*quality.scores)),
            flagged=None if failed else self._happens(quality.flagged, mood),
            scoring_seconds=0.06 if self._happens(quality.slow, mood) else 0.0002,
            champion_version=mirrored.version,
            champion_score=mirrored.score,
            champion_flagged=mirrored.flagged,
            champion_scoring_seconds=(
                0.06 if self._happens(self.qualities[route.arms[0].version].slow, mood) else 0.0002
            ),
            error="broken" if failed else "",
        )

    def _happens(self, rate: float, mood: float) -> bool:
        return bool(self._rng.random() < min(rate * mood, 1.0)) if 0 < rate < 1 else rate == 1
