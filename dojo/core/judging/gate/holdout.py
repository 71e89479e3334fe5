"""The rows on which the gate judges, and the versions that answer them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import numpy.typing as npt

from dojo.core.judging.fairness import Groups
from dojo.core.spec.schema import ModelSpec
from dojo.core.tasks.records import Answered, Codes
from dojo.core.tasks.specs import task_of

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class GateHoldout:
    """The rows on which both models are judged. Neither model has seen them.

    Attributes:
        start: World time of the beginning, included.
        end: World time of the end, excluded.
        labels: Shape (rows,).
        weights: As in `Answered`. None where each row stands for itself.
        times: UTC, datetime64, shape (rows,).
        clusters: Entity -> the entity of each row as a number, shape (rows,).
        segments: Name of a group of customers -> its row numbers.
        segmentation: How the segments were cut.
        protected: Group of the protected attribute -> its row numbers. Empty where the model is not
            regulated.
    """

    start: datetime
    end: datetime
    labels: npt.NDArray[np.float64]
    times: npt.NDArray[np.datetime64]
    clusters: Mapping[str, Codes]
    segments: Mapping[str, npt.NDArray[np.int64]]
    segmentation: str
    weights: npt.NDArray[np.float64] | None = None
    protected: Groups = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return len(self.labels)

    def answered(self, candidate: Candidate, spec: ModelSpec) -> Answered:
        """Return the rows as a candidate answers them. The candidate must have scores."""
        assert candidate.scores is not None
        flagged = task_of(spec).flagged(candidate.scores, candidate.decision)
        return Answered(
            self.labels, candidate.scores, flagged, self.clusters, self.times, self.weights,
            candidate.decision,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model and its scores on the holdout.

    Attributes:
        version: As in decision.Contender.
        run_id: As in decision.Contender.
        as_of: As in decision.Contender.
        decision: As in decision.Contender.
        latency_seconds: As in decision.Contender.
        batch_seconds: As in decision.Contender.
        size_bytes: As in decision.Contender.
        scores: Shape (rows,). None if the model cannot score.
    """

    version: str
    run_id: str
    as_of: datetime
    decision: Mapping[str, float]
    latency_seconds: float
    size_bytes: int
    scores: Scores | None
    batch_seconds: float = 0.0
