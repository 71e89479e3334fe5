"""Whether a version treats the groups of a protected attribute alike (spec.regulated).

Pure functions. The attribute is no input of the version. Its groups come from the recorded events.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from dojo.core.judging.gaps import GroupRate, RateGap, RateName
from dojo.core.spec.regulated import Fairness
from dojo.core.spec.schema import ModelSpec
from dojo.core.tasks.records import Answered
from dojo.stats.inference.bootstrap import cluster_weights

# The group of the requests without a recorded attribute.
NOT_STATED = "not stated"

# For the ends of an interval that is compared with zero. They move by 3 % of its width.
DRAWS = 500

Groups = Mapping[str, npt.NDArray[np.int64]]


def gaps_of(spec: ModelSpec, answered: Answered, groups: Groups) -> tuple[RateGap, ...]:
    """Return the gap of each rate by the spec's rules. Empty where the model is not regulated."""
    if spec.regulated is None:
        return ()
    return rate_gaps(
        answered, groups, spec.regulated.fairness, spec.gate.confidence, spec.training.seed
    )


def rate_gaps(
    answered: Answered, groups: Groups, limits: Fairness, confidence: float, seed: int
) -> tuple[RateGap, ...]:
    """Return the gap of each rate.

    The interval is of the difference between the two groups that are furthest apart. Whole entities
    are drawn, as in the gate.

    Args:
        answered: Rows with flags. A NaN label is not known yet, and only `granted` counts its row.
        groups: Name -> row numbers.
        limits: The spec's limits.
        confidence: Of the two-sided interval, a fraction.
        seed: Seed of the draws.

    Raises:
        ValueError: The task flags nothing.
    """
    if answered.flagged is None:
        raise ValueError("only flagged answers refuse something, and the task flags nothing")
    flagged = answered.flagged.astype(np.float64)
    everyone = np.ones(len(flagged))
    of: dict[RateName, tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]] = {
        "granted": (1 - flagged, everyone),
        "true_positive": (flagged, (answered.labels == 1).astype(np.float64)),
        "false_positive": (flagged, (answered.labels == 0).astype(np.float64)),
    }
    numbers = np.full(len(flagged), len(groups))  # one number more, for rows of no group
    for number, rows in enumerate(groups.values()):
        numbers[rows] = number
    return tuple(
        _gap(
            name, answered, hits, counted, list(groups), numbers, getattr(limits, name),
            limits.minimum_rows, confidence, seed,
        )
        for name, (hits, counted) in of.items()
    )  # fmt: skip


def _gap(
    name: RateName,
    answered: Answered,
    hits: npt.NDArray[np.float64],
    counted: npt.NDArray[np.float64],
    groups: list[str],
    numbers: npt.NDArray[np.int64],
    limit: float,
    minimum_rows: int,
    confidence: float,
    seed: int,
) -> RateGap:
    def rates(weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        size = len(groups) + 1
        below = np.bincount(numbers, weights * counted, size)
        above = np.bincount(numbers, weights * counted * hits, size)
        shares: npt.NDArray[np.float64] = np.full(size, np.nan)
        np.divide(above, below, out=shares, where=below > 0)
        return shares

    rows = np.bincount(numbers, counted, len(groups) + 1).astype(int)
    found = rates(answered.each)
    shown = tuple(
        GroupRate(group, int(rows[at]), float(found[at]) if rows[at] >= minimum_rows else None)
        for at, group in enumerate(groups)
    )
    judged = [at for at, one in enumerate(shown) if one.value is not None]
    if len(judged) < 2:
        return RateGap(rate=name, groups=shown, limit=limit, verdict="insufficient_data")
    lowest = min(judged, key=lambda at: found[at])
    highest = max(judged, key=lambda at: found[at])
    clusters = list(answered.entities.values()) or [np.arange(len(hits))]
    drawn = [
        by_group[highest] - by_group[lowest]
        for by_group in (
            rates(copies * answered.each) for copies in cluster_weights(clusters, DRAWS, seed)
        )
    ]
    low, high = np.nanquantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    value = float(found[highest] - found[lowest])
    return RateGap(
        rate=name,
        groups=shown,
        lowest=groups[lowest],
        highest=groups[highest],
        value=value,
        low=float(low),
        high=float(high),
        limit=limit,
        verdict="veto" if value > limit and low > 0 else "ok",
    )
