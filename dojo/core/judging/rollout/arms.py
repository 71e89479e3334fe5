"""The answers of one arm, as counts and histograms of bounded size."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

import msgspec

# Edges of latency bins, seconds. They double from 50 microseconds to 1.6 s, so 17 numbers give a
# median to a factor of 2.
LATENCY_EDGES = tuple(50e-6 * 2.0**step for step in range(16))


class ArmCounts(msgspec.Struct):
    """One arm's share of a stage.

    Attributes:
        requests: Requests for which the route chose the arm.
        answered: Requests answered by the arm's own version. Scores and flags count only these.
        errors: Requests that the version did not answer.
        degraded: Answers with something missing.
        slow: Answers later than the latency objective.
        flagged: Flagged answers.
        scores: Answers per bin of the task's edges (`Task.score_edges`). Empty before the first.
        latencies: Requests per bin of LATENCY_EDGES.
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
        """Count a request's latency and return whether it was slow. Both times are in seconds."""
        self.latencies[bisect_left(LATENCY_EDGES, seconds)] += 1
        slow = seconds > objective
        self.slow += slow
        return slow

    def answer(self, score: float, flagged: bool | None, edges: Sequence[float]) -> None:
        """Count an answer of the arm's own version.

        Args:
            score: The answer's score.
            flagged: True if the answer was flagged.
            edges: Edges of the score bins, the same for all answers of a stage.
        """
        self.answered += 1
        self.flagged += bool(flagged)
        if not self.scores:
            self.scores = [0] * (len(edges) + 1)
        self.scores[bisect_left(edges, score)] += 1

    def median_latency(self) -> float | None:
        """Return the upper edge of the median's bin, seconds. None without requests.

        Beyond the last edge it is infinity.
        """
        upto = [*accumulate(self.latencies)]
        return (*LATENCY_EDGES, math.inf)[bisect_left(upto, upto[-1] / 2)] if upto[-1] else None
