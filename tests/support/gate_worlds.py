"""Holdouts and candidates for tests of the gate, with labels, clusters and scores from a seed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dojo.core.judging.gate.holdout import Candidate, GateHoldout
from dojo.core.spec.schema import ModelSpec
from dojo.core.tasks.specs import load_spec

END = datetime(2018, 6, 17, tzinfo=UTC)


def spec(draws: int = 200) -> ModelSpec:
    found = load_spec(Path("models/fraud_detection.yaml"))
    return found.model_copy(
        update={"gate": found.gate.model_copy(update={"bootstrap_draws": draws})}
    )


def holdout(
    labels: npt.NDArray[np.int64], seed: int = 1, customers: int = 300, merchants: int = 400
) -> GateHoldout:
    random = np.random.default_rng(seed)
    rows = len(labels)
    thirds = np.arange(rows) % 3
    start, span = (
        END - timedelta(days=14),
        np.linspace(0, 14 * 86_400_000_000, rows, endpoint=False),
    )
    return GateHoldout(
        start=start,
        end=END,
        labels=labels.astype(np.float64),
        times=np.datetime64(start.replace(tzinfo=None), "us") + span.astype("timedelta64[us]"),
        clusters={
            "customer": random.integers(0, customers, rows),
            "merchant": random.integers(0, merchants, rows),
        },
        segments={
            name: np.flatnonzero(thirds == third)
            for third, name in enumerate(("rare", "regular", "frequent"))
        },
        segmentation="every third",
    )


def labels(rows: int = 6000, rate: float = 0.05, seed: int = 1) -> npt.NDArray[np.int64]:
    return (np.random.default_rng(seed).random(rows) < rate).astype(np.int64)


def noisy_scores(
    labels: npt.NDArray[np.int64], signal: float, seed: int
) -> npt.NDArray[np.float64]:
    """Return calibrated probabilities of a model that sees the label through noise.

    More `signal` is a better model.
    """
    seen = signal * labels + np.random.default_rng(seed).normal(0, 1, len(labels))
    rate = labels.mean()
    odds = rate / (1 - rate) * np.exp(signal * seen - signal**2 / 2)
    return odds / (1 + odds)


def candidate(
    scores: npt.NDArray[np.float64] | None,
    version: str = "",
    latency: float = 12e-6,
    size: int = 200_000,
    threshold: float = 0.5,
) -> Candidate:
    return Candidate(
        version=version,
        run_id=f"run-{version or 'new'}",
        as_of=END + timedelta(days=7),
        decision={"threshold": threshold},
        latency_seconds=latency,
        size_bytes=size,
        scores=scores,
    )
