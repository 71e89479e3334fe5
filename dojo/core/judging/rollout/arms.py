"""What happened to one arm: counts and histograms of bounded size."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

import msgspec

# Bins of latencies, seconds: doubling from 50 microseconds to 1.6 s, so that a median is known to a factor of 2 in 17 numbers.
LATENCY_EDGES = tuple(50e-6 * 2.0**step for step in range(16))


class ArmCounts(msgspec.Struct):
    """One arm's share of a stage.

    Attributes:
        requests: that the route chose it for. `answered`: of those, by its own version; scores and flags are of these.
        errors: requests that its version did not answer. `degraded`: answered with something missing. `slow`: later than the objective.
        scores: answers per bin of the task's edges (`Task.score_edges`); empty before the first. `latencies`: requests per bin of LATENCY_EDGES.
    """

    requests: int = 0
    answered: int = 0
    errors: int = 0
    degraded: int = 0
    slow: int = 0
    flagged: int = 0
    scores: list[int] = msgspec.field(default_factory=list)
    latencies: list[int] = msgspec.field(default_factory=lambda: [0] * (len(LATENCY_EDGES) + 1))

    def took(self, seconds: float, objective: float) -> bool:
        """Count a request's latency; whether it was slow."""
        self.latencies[bisect_left(LATENCY_EDGES, seconds)] += 1
        slow = seconds > objective
        self.slow += slow
        return slow

    def answer(self, score: float, flagged: bool | None, edges: Sequence[float]) -> None:
        """Count an answer of the arm's own version.

        Args:
            edges: Of the bins that scores are counted in; the same for all answers of a stage.
        """
        self.answered += 1
        self.flagged += bool(flagged)
        if not self.scores:
            self.scores = [0] * (len(edges) + 1)
        self.scores[bisect_left(edges, score)] += 1

    def median_latency(self) -> float | None:
        """Upper edge of the bin that holds the median, seconds; None without requests (infinity beyond the last edge)."""
        upto = [*accumulate(self.latencies)]
        return (*LATENCY_EDGES, math.inf)[bisect_left(upto, upto[-1] / 2)] if upto[-1] else None
