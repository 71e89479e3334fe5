"""Expectations of a binary model's answers before their labels arrive. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dojo.core.spec.monitoring import Levels
from dojo.core.tasks.measured import Measured
from dojo.core.tasks.records import AnswerCounts, Proxies
from dojo.stats.inference.means import two_sided_z
from dojo.stats.scores.expected_performance import expected_average_precision

FLAGGED, EXPECTED = "flagged", "expected_pr_auc"


def expected_pr_auc(
    counts: npt.NDArray[np.integer],
    sums: npt.NDArray[np.floating],
    calibration: Sequence[float] = (),
) -> float:
    """Return the PR-AUC expected from scores, when each row is positive with its bin's probability.

    Its limits are stated in `dojo/stats/scores/expected_performance.py`. Concept drift is
    invisible.

    Args:
        counts: As from `score_histogram`. A bin is one group of equal scores.
        sums: As from `score_histogram`.
        calibration: Probability per bin (`ReferenceProfile.calibration`). Without it a bin's mean
            score is its probability.

    Returns:
        In (0, 1]. NaN without rows or where no positive is expected.
    """
    means = np.divide(sums, counts, out=np.zeros(len(counts)), where=np.asarray(counts) > 0)
    return expected_average_precision(counts, np.asarray(calibration) if calibration else means)


def flagged_rate(
    counts: AnswerCounts, holdout: Proxies, levels: Levels, minimum_rows: int, significance: float
) -> dict[str, Measured]:
    """Return how many times more, or fewer, answers are flagged than in the holdout, >= 1."""
    reference, rows = holdout.figures.get(FLAGGED), counts.rows
    if reference is None or not reference.mean or rows < minimum_rows:
        return {FLAGGED: Measured(FLAGGED, None, levels, rows)}
    share = counts.flagged / rows
    spread = two_sided_z(significance) * _share_deviation(
        reference.mean, rows, holdout.rows, reference.days, reference.std
    )
    above = share >= reference.mean
    value = share / reference.mean if above else reference.mean / max(share, 0.5 / rows)
    left = reference.mean - spread
    noise = (
        (reference.mean + spread) / reference.mean
        if above
        else reference.mean / left
        if left > 0
        else math.inf
    )
    note = f"{share:.2%} flagged, {reference.mean:.2%} in the holdout"
    return {FLAGGED: Measured(FLAGGED, value, levels, rows, noise, note)}


def estimated_performance(
    counts: AnswerCounts, holdout: Proxies, levels: Levels, minimum_rows: int, significance: float
) -> dict[str, Measured]:
    """Return the relative loss of the expected PR-AUC against the same estimate on the holdout."""
    reference, rows = holdout.figures.get(EXPECTED), counts.rows
    if reference is None or not reference.mean > 0 or rows < minimum_rows:
        return {EXPECTED: Measured(EXPECTED, None, levels, rows)}
    now = expected_pr_auc(counts.score_counts, counts.score_sums, holdout.calibration)
    if not math.isfinite(now):
        return {
            EXPECTED: Measured(EXPECTED, None, levels, rows, note="the scores expect no positive")
        }
    # A window with fewer rows than a holdout day has a larger error, by the root of their ratio.
    thinner = max(1.0, holdout.rows / reference.days / rows)
    noise = two_sided_z(significance) * reference.std * math.sqrt(thinner) / reference.mean
    note = f"{now:.3f} expected from the scores, {reference.mean:.3f} from the holdout's"
    return {
        EXPECTED: Measured(EXPECTED, max(0.0, 1 - now / reference.mean), levels, rows, noise, note)
    }


def _share_deviation(mean: float, rows: int, holdout_rows: int, days: int, by_day: float) -> float:
    """Return the standard deviation of a window's share.

    It adds chance for the window's rows and the variation between days beyond chance.
    """
    binomial = mean * (1 - mean)
    between = max(0.0, by_day**2 - binomial / (holdout_rows / days))
    return math.sqrt(binomial / rows + between)
