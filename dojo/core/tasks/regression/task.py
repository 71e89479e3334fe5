"""The task of a regression model (dojo/core/tasks/protocol.py: Task)."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import msgspec
import numpy as np
import numpy.typing as npt

from dojo.core.tasks.measured import Measured
from dojo.core.tasks.protocol import Task
from dojo.core.tasks.records import (
    AnswerColumn,
    Answered,
    AnswerValues,
    Array,
    Curve,
    Decision,
    GuardRule,
    LabelTest,
    LabelValues,
    Leak,
    Loss,
    Metric,
    Quantity,
    Results,
)
from dojo.core.tasks.regression import curves, interval, live, metrics
from dojo.core.tasks.regression.spec import RegressionSpec
from dojo.stats.histograms.binning import correlation_ratio
from dojo.stats.inference.bootstrap import RelativeGain
from dojo.stats.inference.prediction_intervals import rows_needed

# Bins of a feature for its correlation ratio, and of values for comparing two versions.
BINS = 10

# With fewer labels, a mean has no useful interval, because the errors' long tail is not in it yet.
MINIMUM_LABELS = 300

# Loss of the spec -> LightGBM's objective, and the validation metric that stops the training.
OBJECTIVES: Mapping[str, Mapping[str, Any]] = {
    "absolute": {"objective": "regression_l1", "metric": "l1"},
    "squared": {"objective": "regression", "metric": "l2"},
    "tweedie": {"objective": "tweedie", "metric": "tweedie"},
}

# Keys of `baseline`: the champion's large error, and the edges between tenths of its values.
LARGE_ERROR = "large_error"
# `interval.DECISION` has the keys of the challenger's interval.
TENTHS = tuple(f"value_p{10 * tenth}" for tenth in range(1, BINS))

# Test of the watch: the label lies outside the answer's interval.
OUTSIDE = "outside_interval"


@dataclass(frozen=True, slots=True)
class Regression(Task):
    """One regression model's task."""

    spec: RegressionSpec

    metrics: ClassVar[Mapping[str, Metric]] = metrics.METRICS
    support_name: ClassVar[str] = "labels"
    headline: ClassVar[str] = live.MAE
    score_bounds: ClassVar[tuple[float, float]] = (-sys.float_info.max, sys.float_info.max)
    level_keys: ClassVar[Mapping[str, str]] = {
        live.MAE: "mae_ratio",
        live.BIAS: "bias",
        live.COVERAGE: "coverage",
        "segments": "mae_ratio",
    }
    essential: ClassVar[frozenset[str]] = frozenset({live.MAE})

    @property
    def label_values(self) -> LabelValues:
        low, high = self.spec.label.range
        return LabelValues(low=low, high=high)

    def label_faults(self, labels: Array) -> list[str]:
        low, high = self.spec.training.label_mean
        mean = float(labels.mean()) if len(labels) else 0.0
        if low <= mean <= high:
            return []
        return [
            f"outcomes.label: expected a mean label from {low:g} to {high:g} {self.spec.label.unit}"
            f" (spec: training.label_mean), found {mean:.4g} over {len(labels):,} labels"
        ]

    def part_fault(self, labels: Array) -> str:
        if not len(labels) or labels.min() == labels.max():
            return f"expected labels that differ, found {len(labels):,} rows with one value"
        needed = rows_needed(self.spec.interval.coverage) if self.spec.interval else 0
        if len(labels) < needed:
            return f"expected {needed} rows for interval.coverage, found {len(labels):,}"
        return ""

    def leak(self, values: Array, labels: Array) -> Leak:
        value = 0.0
        if not self.part_fault(labels):
            # Ranks, because a few large labels hold most of the variance and share one bin. Without
            # ranks not even the label would explain itself.
            ordered = np.sort(labels)
            ranks = np.searchsorted(ordered, labels, side="left") + np.searchsorted(
                ordered, labels, side="right"
            )
            value = correlation_ratio(values.astype(np.float64), ranks.astype(np.float64), BINS)
        measure = "a correlation ratio with the labels' ranks"
        return Leak(
            "correlation_ratio", measure, value, self.spec.training.checks.correlation_ratio
        )

    @property
    def objective(self) -> Mapping[str, Any]:
        return OBJECTIVES[self.spec.training.loss]

    def decide(self, validation: Answered) -> dict[str, float]:
        """Choose the interval on the validation rows. Nothing without the section `interval`."""
        section = self.spec.interval
        return {} if section is None else interval.decide(validation, section)

    def evaluate(self, holdout: Answered) -> dict[str, float]:
        return metrics.evaluate(holdout) | interval.evaluate(holdout, self.spec)

    def curves(self, holdout: Answered, label: str) -> tuple[Curve, ...]:
        unit = self.spec.label.unit
        return curves.error_distribution(holdout, label, unit), curves.predicted_actual(
            holdout, label, unit
        )

    def support(self, answered: Answered) -> int:
        return len(answered.labels)

    def too_few(self, answered: Answered) -> str:
        rows = len(answered.labels)
        return (
            ""
            if rows >= MINIMUM_LABELS
            else f"{rows:,} labels, at least {MINIMUM_LABELS} are needed"
        )

    def too_few_live(self, support: int, rows: int) -> str:
        needed = self.spec.drift.performance.minimum_labels
        return "" if support >= needed else f"{support:,} labels, {needed:,} are needed"

    def gain(self, champion: Answered, challenger: Answered, draws: int) -> RelativeGain:
        gate = self.spec.gate
        return metrics.gain(
            gate.primary_metric,
            champion,
            challenger,
            draws,
            gate.confidence,
            self.spec.training.seed,
        )

    @property
    def guards(self) -> tuple[GuardRule, ...]:
        limits = self.spec.gate.guards
        return (
            GuardRule(
                "bias",
                "relative_bias",
                "mean error as a share of the mean label",
                "absolute rise",
                limits.bias,
            ),
            GuardRule(
                "p90_error",
                "p90_error",
                "90th percentile of absolute errors",
                "relative rise",
                limits.p90_error,
            ),
            *self._interval_guards(),
        )

    def _interval_guards(self) -> tuple[GuardRule, ...]:
        section, limits = self.spec.interval, self.spec.gate.guards
        if section is None or limits.coverage is None or limits.pinball_loss is None:
            return ()
        return (
            GuardRule(
                "coverage", "interval_coverage", "share of labels inside the interval",
                "absolute loss", limits.coverage, section.coverage,
            ),
            GuardRule(
                "pinball_loss", "pinball_loss", "mean pinball loss of the interval's ends",
                "relative rise", limits.pinball_loss,
            ),
        )  # fmt: skip

    def loss(self, fresh: Answered, promised: Mapping[str, float]) -> Loss:
        gate, metric = self.spec.gate, self.spec.gate.primary_metric
        return metrics.loss(
            metric,
            fresh,
            promised[metric],
            gate.bootstrap_draws,
            gate.confidence,
            self.spec.training.seed,
        )

    def baseline(self, champion: Answered, challenger: Decision) -> dict[str, float]:
        """Return the champion's errors and values, and the interval of the challenger.

        Only the challenger's own interval says which of its answers a label lies outside of.
        """
        large = float(np.quantile(np.abs(champion.scores - champion.labels), metrics.LARGE))
        tenths = np.quantile(champion.scores, np.arange(1, BINS) / BINS).tolist()
        own = {name: challenger[name] for name in interval.DECISION if name in challenger}
        return {LARGE_ERROR: large, **dict(zip(TENTHS, tenths, strict=True)), **own}

    def intended_use(self, decision: Decision) -> str:
        label, section = self.spec.label, self.spec.interval
        value = (
            f"The value is the predicted {label.truth} of one of the {label.event}, in"
            f" {label.unit}. It is no promise."
        )
        if section is None or not interval.has_interval(decision):
            return value
        low, high, floor, power = (decision[name] for name in interval.DECISION)
        return (
            f"{value} Of all labels, {section.coverage:.0%} lie from `low` to `high`. The ends are"
            f" {low:.4f} and {high:.4f} times the value to the power of {power:.4f} away. A value"
            f" below {floor:.4f} counts as {floor:.4f} there."
        )

    def no_skill(self, metrics: Mapping[str, float]) -> tuple[str, float]:
        return "MAE of always answering the holdout's median", metrics["mae_of_median"]

    @property
    def columns(self) -> tuple[AnswerColumn, ...]:
        label, section = self.spec.label, self.spec.interval
        kind = Annotated[
            float, msgspec.Meta(description=f"Predicted {label.truth}. Unit: {label.unit}.")
        ]
        value = AnswerColumn("value", kind, "FP64", 27.4)
        if section is None:
            return (value,)
        return (
            value,
            *(
                AnswerColumn(name, Annotated[float | None, msgspec.Meta(description=said)], "FP64",
                             example)
                for name, said, example in (
                    ("low", f"Lower end of the interval with {section.coverage:.0%} of the labels."
                     f" Unit: {label.unit}. Null without an interval, as in the fallback's answer.",
                     19.8),
                    ("high", "Upper end of the same interval. Null where `low` is.", 38.1),
                )
            ),
        )  # fmt: skip

    def answers(
        self, scores: Sequence[float], decisions: Sequence[Decision | None]
    ) -> list[AnswerValues]:
        """Return the answers. Without a version there is no interval, so its ends are None."""
        if self.spec.interval is None:
            return [AnswerValues((score,), None) for score in scores]
        low, high = interval.ends(np.array(scores), decisions, self.spec.label.range)
        return [
            AnswerValues((score, None, None) if math.isnan(first) else (score, first, last), None)
            for score, first, last in zip(scores, low.tolist(), high.tolist(), strict=True)
        ]

    def quantities(
        self, requests: Answered, stakes: npt.NDArray[np.float64]
    ) -> tuple[Quantity, ...]:
        known = np.isfinite(requests.labels)
        errors = np.where(known, np.abs(requests.scores - np.nan_to_num(requests.labels)), 0.0)
        needed = self.spec.drift.performance.minimum_labels
        return (
            Quantity(
                "mean_absolute_error", errors, known * 1.0, known, needed, "labels", share=False
            ),
        )

    def results(self, answered: Answered) -> Results:
        return live.results(answered, self.spec)

    def lacking(self, results: Results) -> str:
        needed = self.spec.drift.performance.minimum_labels
        return "" if results.rows >= needed else f"needs {needed:,} labels, has {results.rows:,}"

    def performance(self, live_results: Results, holdout: Results) -> dict[str, Measured]:
        return live.performance(live_results, holdout, self.spec)

    def segment(self, name: str, live_results: Results, holdout: Results, level: float) -> Measured:
        return live.error_ratio(name, live_results, holdout, self.spec, level)

    def split_labels(self, labels: Array) -> npt.NDArray[np.bool_]:
        above: npt.NDArray[np.bool_] = labels > (np.median(labels) if len(labels) else 0.0)
        return above

    def score_edges(self, baseline: Mapping[str, float]) -> tuple[tuple[float, ...], float] | None:
        edges = sorted({baseline[name] for name in TENTHS if name in baseline})
        return (tuple(edges), self.spec.rollout.checks.score_psi) if edges else None

    def label_tests(self, baseline: Mapping[str, float]) -> tuple[LabelTest, ...]:
        ratio = self.spec.rollout.checks.large_error_ratio
        known = LARGE_ERROR in baseline
        return (
            *self._interval_tests(baseline),
            LabelTest(
                "large_errors", "share of errors beyond the champion's 90th percentile",
                ratio * (1 - metrics.LARGE) if known else None, self.spec.rollout.minimum_labels,
                "" if known else "the gate left no large_error to compare with",
            ),
        )  # fmt: skip

    def _interval_tests(self, baseline: Mapping[str, float]) -> tuple[LabelTest, ...]:
        section, ratio = self.spec.interval, self.spec.rollout.checks.outside_ratio
        if section is None or ratio is None:
            return ()
        known = interval.has_interval(baseline)
        return (
            LabelTest(
                OUTSIDE, "share of labels outside the interval",
                ratio * (1 - section.coverage) if known else None, self.spec.rollout.minimum_labels,
                "" if known else "the gate left no interval of the challenger",
            ),
        )  # fmt: skip

    def kept(self, score: float, flagged: bool | None) -> float:
        return score

    def trials(self, kept: float, label: float, baseline: Mapping[str, float]) -> dict[str, bool]:
        large = baseline.get(LARGE_ERROR)
        found = {} if large is None else {"large_errors": abs(kept - label) > large}
        if self.spec.interval is not None and interval.has_interval(baseline):
            low, high = interval.ends(np.array([kept]), [baseline], self.spec.label.range)
            found[OUTSIDE] = not low[0] <= label <= high[0]
        return found
