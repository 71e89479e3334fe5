"""The interval of a regression's answer: how far the truth may lie from the value. Pure.

A version's decision holds the interval's two offsets. They are residuals of the validation rows,
each divided by the scale of its value. An answer's ends are its value plus offset times scale. So
one model file gives value and interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dojo.core.tasks.records import Answered, Decision
from dojo.core.tasks.regression.spec import PredictionInterval, RegressionSpec
from dojo.stats.inference.prediction_intervals import conformal_offsets, inside, pinball_losses

Values = npt.NDArray[np.float64]

# Keys of the decision. The offsets are in the label's unit to 1 - power, the floor is in its unit.
LOW, HIGH, FLOOR, POWER = "interval_low", "interval_high", "interval_floor", "interval_power"
DECISION = (LOW, HIGH, FLOOR, POWER)
UNKNOWN = [np.nan] * len(DECISION)

# Scale of the spec -> power of the value that errors grow with.
POWERS: Mapping[str, float] = {"constant": 0.0, "square_root": 0.5, "proportional": 1.0}

# Smaller values count as this share of the median value. A value of 0 would have no interval.
FLOOR_SHARE = 0.1


class Ends(NamedTuple):
    """Both ends of each answer's interval, in the label's unit, shape (rows,).

    NaN where the version knows no interval.
    """

    low: Values
    high: Values


def decide(validation: Answered, interval: PredictionInterval) -> dict[str, float]:
    """Return the interval of a version, from its validation rows.

    Raises:
        ValueError: The rows are too few for the coverage.
    """
    floor = FLOOR_SHARE * float(np.median(np.abs(validation.scores)))
    power = POWERS[interval.scale]
    residuals = validation.labels - validation.scores
    low, high = conformal_offsets(
        residuals / _scales(validation.scores, floor, power), interval.coverage
    )
    return {LOW: low, HIGH: high, FLOOR: floor, POWER: power}


def ends(scores: Values, decisions: Sequence[Decision | None], bounds: tuple[float, float]) -> Ends:
    """Return the ends of answers.

    Args:
        scores: Shape (rows,).
        decisions: The decision of the version behind each row, or one for all rows.
        bounds: Lowest and highest plausible label. No end lies beyond.
    """
    known = [
        UNKNOWN if one is None else [one.get(name, np.nan) for name in DECISION]
        for one in decisions
    ]
    low, high, floor, power = np.array(known).reshape(-1, len(DECISION)).T
    scales, (least, most) = _scales(scores, floor, power), bounds
    # np.clip takes several times as long for the few rows of a request.
    return Ends(
        *(np.minimum(np.maximum(scores + offset * scales, least), most) for offset in (low, high))
    )


def ends_of(answered: Answered, spec: RegressionSpec) -> Ends | None:
    """Return the ends of one version's answers. None where it has no intervals."""
    if spec.interval is None or not has_interval(answered.decision):
        return None
    return ends(answered.scores, [answered.decision], spec.label.range)


def has_interval(decision: Decision) -> bool:
    """Return whether a version was trained with the section `interval`."""
    return all(name in decision for name in DECISION)


def covered(answered: Answered, spec: RegressionSpec) -> npt.NDArray[np.bool_] | None:
    """Return which labels lie in their intervals. None where there are no intervals."""
    found = ends_of(answered, spec)
    return None if found is None else inside(answered.labels, *found)


def evaluate(holdout: Answered, spec: RegressionSpec) -> dict[str, float]:
    """Return the metrics of the intervals. Nothing where there are none."""
    found = ends_of(holdout, spec)
    if found is None or spec.interval is None:
        return {}
    tail = (1 - spec.interval.coverage) / 2
    losses = [
        pinball_losses(holdout.labels, end, level)
        for end, level in zip(found, (tail, 1 - tail), strict=True)
    ]
    return {
        "interval_coverage": float(inside(holdout.labels, *found).mean()),
        "interval_width": float((found.high - found.low).mean()),
        "pinball_loss": float(np.mean(losses)),
    }


def _scales(scores: Values, floor: float | Values, power: float | Values) -> Values:
    scales: Values = np.maximum(np.abs(scores), floor) ** power
    return scales
