"""Predictions and outcomes of a small model for tests of the monitor.

Seeded, with drift by size.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from dojo.core.events.types import Outcome, Prediction
from dojo.core.registry.reference_profile import ReferenceProfile
from dojo.core.spec.schema import ModelSpec
from dojo.core.tasks.records import Answered
from dojo.core.tasks.specs import load_spec
from pipelines.training.reference import ReferenceHoldout, profile_of

MODEL = "fraud_detection"
NAMES = ("amount", "count", "age", "customer_tx_count_30d", "is_night")
VIEWS = ("customer_daily", "merchant_daily")
START = datetime(2025, 1, 6, tzinfo=UTC)  # a Monday
THRESHOLD = 0.05  # a tenth of the answers and half of the positives lie above it


def spec(**drift: object) -> ModelSpec:
    """The fraud model's spec, with parts of its drift section replaced."""
    found = load_spec(Path(__file__).parents[2] / "models" / f"{MODEL}.yaml")
    return found.model_copy(update={"drift": found.drift.model_copy(update=drift)})


def rows(
    random: np.random.Generator, count: int, shift: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return feature vectors, shape (count, features), and scores.

    `shift` moves log amounts, in standard deviations.
    """
    amount = np.exp(random.normal(3 + shift, 1, count))
    vectors = np.column_stack(
        [
            amount,
            random.poisson(3, count),
            random.exponential(20, count),
            random.poisson(40, count),
            random.random(count) < 0.2,
        ]
    )
    return vectors, random.beta(0.4, 20, count)


def profile(days: int = 14, per_hour: int = 60, seed: int = 1) -> ReferenceProfile:
    """Return the profile of a holdout of whole days before START, alike at every hour."""
    random = np.random.default_rng(seed)
    count = days * 24 * per_hour
    vectors, scores = rows(random, count)
    offsets = np.sort(random.integers(0, days * 86_400_000_000, count))
    labels = random.random(count) < np.clip(scores, 0.005, 1)
    holdout = ReferenceHoldout(
        names=NAMES,
        inputs=vectors.astype(np.float32),
        answered=Answered(
            labels=labels.astype(np.float64),
            scores=scores,
            flagged=scores >= THRESHOLD,
            entities={"customer": random.integers(0, 500, count).astype(str)},
            times=np.datetime64((START - timedelta(days=days)).replace(tzinfo=None), "us")
            + offsets,
        ),
        missing=dict.fromkeys(VIEWS, 0.01),
    )
    return profile_of(holdout, spec())


@dataclass
class Shop:
    """Makes events with unique ids. The same seed makes the same ones."""

    seed: int = 7
    version: str = "1"
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self._random = np.random.default_rng(self.seed)

    def predictions(
        self,
        start: datetime,
        count: int,
        length: timedelta = timedelta(hours=1),
        shift: float = 0.0,
        missing: float = 0.01,
    ) -> list[Prediction]:
        """Return answers spread over `length` from `start` on, in order of time."""
        vectors, scores = rows(self._random, count, shift)
        seconds = np.sort(self._random.random(count)) * length.total_seconds()
        absent = self._random.random(count) < missing
        return [
            self._prediction(
                start + timedelta(seconds=float(at)), vector, float(score), bool(no_row)
            )
            for at, vector, score, no_row in zip(
                seconds, vectors.tolist(), scores, absent, strict=True
            )
        ]

    def outcomes(
        self, predictions: Sequence[Prediction], delay: timedelta = timedelta(days=2)
    ) -> list[Outcome]:
        """Return labels of answers, after lognormal delays with this median."""
        factors = np.exp(self._random.normal(0, 0.8, len(predictions)))
        return [
            Outcome(
                event_id=Outcome.id_for(p.model, p.request_id),
                world_time=p.world_time + delay * float(factor),
                wall_time=p.world_time,
                model=p.model,
                request_id=p.request_id,
                request_time=p.world_time,
                label=int(self._random.random() < max(p.score, 0.005)),
            )
            for p, factor in zip(predictions, factors, strict=True)
        ]

    def _prediction(
        self, at: datetime, vector: Sequence[float], score: float, no_row: bool
    ) -> Prediction:
        key = f"{self.seed}-{self.version}-{next(self._numbers)}"
        return Prediction(
            event_id=Prediction.id_for(key),
            world_time=at,
            wall_time=at,
            prediction_id=key,
            request_id=key,
            model=MODEL,
            version=self.version,
            arm="champion",
            entity_keys={"customer": f"c{key[-2:]}", "merchant": f"m{key[-3:]}"},
            features=dict(zip(NAMES, vector, strict=True)),
            feature_age_seconds=dict.fromkeys(VIEWS, None if no_row else 100.0),
            score=score,
            flagged=score >= THRESHOLD,
            latency_seconds=0.002,
            degraded=("cold_start",) if no_row else (),
            route_generation=1,
        )
