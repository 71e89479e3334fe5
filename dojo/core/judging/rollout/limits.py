"""Limits of a rollout: the evidence that stops a challenger, and the allowed rates in the watch.

In the watch, no other version answers the same traffic, so the rates need fixed limits. All
sequential checks of a whole journey share `checks.false_alarm`. Their parts add up to 1. A
challenger no worse than the limits allow is stopped by chance with at most this probability (union
bound). This holds for any number of looks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import msgspec

from dojo.core.judging.rollout.arms import ArmCounts
from dojo.core.judging.rollout.stages import Stage
from dojo.core.spec.schema import ModelSpec
from dojo.core.tasks.records import LabelTest
from dojo.core.tasks.specs import task_of
from dojo.stats.inference.proportions import wilson_interval

# Half of `checks.false_alarm` goes to the canary's errors. Speed matters most there, because
# customers meet them. The stop is then at 1 / 0.025. It catches a fourfold rate over 0.5 % some
# 1,500 requests earlier than an equal part would.
_REST = 0.05
# The task's own tests of labels share this part.
_LABELS = 0.1
PARTS: dict[tuple[Stage, str], float] = {
    (Stage.CANARY, "errors"): 0.5,
    **{(Stage.SHADOW, check): _REST for check in ("errors", "slow", "declines")},
    **{(Stage.CANARY, check): _REST for check in ("degraded", "slow", "declines")},
    **{(Stage.WATCH, check): _REST for check in ("errors", "slow")},
}

# The champion's rates come from a sample too, so the limit uses the upper end of each interval.
# Two standard deviations, 95.45 %.
CONFIDENCE = math.erf(math.sqrt(2))

# A limit of 0 or 1 cannot be tested.
_LEAST, _MOST = 0.001, 0.999


class Baseline(msgspec.Struct, frozen=True):
    """The champion's upper rates, fractions.

    Attributes:
        errors: Rate of errors. 0 without a canary to measure it.
        slow: Rate of slow answers. 0 without a canary to measure it.
    """

    errors: float = 0.0
    slow: float = 0.0


@dataclass(frozen=True, slots=True)
class WatchLimits:
    """Largest allowed rates, fractions."""

    errors: float
    slow: float


def stops_at(stage: Stage, check: str, spec: ModelSpec) -> float:
    """Return the e-value at which the challenger is rolled back."""
    names = [test.name for test in task_of(spec).label_tests({})] if stage is Stage.WATCH else []
    part = _LABELS / len(names) if check in names else PARTS[stage, check]
    return 1 / (spec.rollout.checks.false_alarm * part)


def baseline_of(champion: ArmCounts) -> Baseline:
    """Return the baseline of the watch stage, from the champion's arm of the canary."""
    return Baseline(
        _upper(champion.errors, champion.requests), _upper(champion.slow, champion.requests)
    )


def watch_limits(measured: Baseline, spec: ModelSpec) -> WatchLimits:
    """Return the limits from the canary's baseline and the spec."""
    checks = spec.rollout.checks
    return WatchLimits(
        errors=testable(max(checks.error_ratio * measured.errors, checks.watch_error_floor)),
        slow=testable(max(checks.slow_ratio * measured.slow, checks.watch_slow_floor)),
    )


def label_tests(
    gate: Mapping[str, float], spec: ModelSpec, weight: float = 1.0
) -> dict[str, LabelTest]:
    """Return the task's tests of labels by name, with testable limits.

    Args:
        gate: The gate's figures of the old champion (`Task.baseline`).
        spec: The model's spec.
        weight: Number of flagged requests for which one flagged request with a label stands. Only
            a `selective` test's limit follows it.
    """
    return {
        test.name: test
        if test.limit is None or not test.selective
        else replace(test, limit=testable(as_labelled(test.limit, test.counts_flags, weight)))
        for test in task_of(spec).label_tests(gate)
    }


def as_labelled(limit: float, counts_flags: bool, weight: float) -> float:
    """Return a limit of all requests as a limit of the labelled ones.

    Where flagged answers are acted on, one in `weight` of them gets a label. So flagged requests
    are rarer among the labelled ones. Their share p of all requests becomes
    (p / weight) / (p / weight + 1 - p) of the labelled ones.

    Args:
        limit: Largest allowed share of all requests, a fraction.
        counts_flags: True for a share of flagged requests, False for one of the others.
        weight: As in `label_tests`.
    """
    flagged = (limit if counts_flags else 1 - limit) / weight
    others = 1 - limit if counts_flags else limit
    return (flagged if counts_flags else others) / (flagged + others)


def _upper(events: int, requests: int) -> float:
    """Return the upper end of the rate's interval. 0 without requests."""
    return wilson_interval(events / requests, requests, CONFIDENCE)[1] if requests else 0.0


def testable(rate: float) -> float:
    """Return the nearest rate that a test can have as its limit."""
    return min(max(rate, _LEAST), _MOST)
