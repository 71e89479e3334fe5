"""The task of a binary model (dojo/core/tasks/protocol.py: Task)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from dojo.core.tasks.binary import curves, estimate, live, metrics
from dojo.core.tasks.binary.spec import BinarySpec
from dojo.core.tasks.measured import Measured
from dojo.core.tasks.protocol import Task
from dojo.core.tasks.records import (
    AnswerColumn,
    AnswerCounts,
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
    Proxies,
    Quantity,
    Results,
)
from dojo.core.tasks.score_bins import score_histogram
from dojo.stats.histograms.binning import information_value
from dojo.stats.inference.bootstrap import RelativeGain
from dojo.stats.scores.calibration import isotonic_rates
from dojo.stats.scores.classification import MINIMUM_POSITIVES, threshold_at_fpr

THRESHOLD = "threshold"
POSITIVES = "labelled positives"

# Bins for a feature's information value, the same number as in reference profiles.
LEAK_BINS = 10

# Bins of scores, fixed at values that decide something. Most rows score below 0.01, and their exact
# score does not matter. A threshold lies somewhere in the middle. Quantile bins would cut this mass
# of tiny scores nine times. Any two good models differ there (0.0012 or 0.0018?), so every new
# version would look like another distribution.
SCORE_EDGES = (0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)

COLUMNS = (
    AnswerColumn(
        "score",
        Annotated[
            float, msgspec.Meta(ge=0, le=1, description="Probability of the positive class.")
        ],
        "FP64",
        0.0132,
    ),
    AnswerColumn(
        "flagged",
        Annotated[
            bool, msgspec.Meta(description="The score is at or above the version's threshold.")
        ],
        "BOOL",
        False,
    ),
)


@dataclass(frozen=True, slots=True)
class Binary(Task):
    """One binary model's task."""

    spec: BinarySpec

    metrics: ClassVar[Mapping[str, Metric]] = metrics.METRICS
    support_name: ClassVar[str] = "positives"
    headline: ClassVar[str] = live.CATCH_RATE
    score_bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    label_values: ClassVar[LabelValues] = LabelValues(allowed=(0.0, 1.0))
    columns: ClassVar[tuple[AnswerColumn, ...]] = COLUMNS
    proxy_windows: ClassVar[Mapping[str, tuple[Literal["hour", "day"], ...]]] = {
        "flagged_rate": ("hour", "day"),
        "estimated_performance": ("day",),  # an hour holds too few positives for an expectation
    }

    level_keys: ClassVar[Mapping[str, str]] = {
        "flagged_rate": "flagged_ratio",
        "estimated_performance": "pr_auc_drop",
        "segments": "catch_rate_drop",
        live.CATCH_RATE: "catch_rate_drop",
        live.FALSE_ALARMS: "false_positive_ratio",
        live.PR_AUC: "pr_auc_drop",
    }

    # Negatives alone do not make performance ok.
    essential: ClassVar[frozenset[str]] = frozenset({live.CATCH_RATE, live.PR_AUC})

    def label_faults(self, labels: Array) -> list[str]:
        low, high = self.spec.training.label_rate
        rate = int(labels.sum()) / max(len(labels), 1)
        if low <= rate <= high:
            return []
        return [
            f"outcomes.label: expected a label rate from {low:.2%} to {high:.2%} (spec:"
            f" training.label_rate), found {rate:.3%} of {len(labels):,} labels"
        ]

    def part_fault(self, labels: Array) -> str:
        positives = int(labels.sum())
        if positives not in (0, len(labels)):
            return ""
        return (
            f"expected positives and negatives, found {positives:,} positives in {len(labels):,}"
            " rows"
        )

    def leak(self, values: Array, labels: Array) -> Leak:
        key = "information_value"
        value = (
            0.0
            if self.part_fault(labels)
            else information_value(values.astype(np.float64), labels.astype(np.int8), LEAK_BINS)
        )
        return Leak(key, "an information value", value, self.spec.training.checks.information_value)

    @property
    def objective(self) -> Mapping[str, Any]:
        return {"objective": "binary", "metric": "average_precision"}

    def decide(self, validation: Answered) -> dict[str, float]:
        """Choose the threshold on the validation rows.

        The holdout would flatter its own figures.
        """
        target = self.spec.serving.threshold_false_positive_rate
        return {
            THRESHOLD: threshold_at_fpr(
                validation.labels, validation.scores, target, validation.weights
            )
        }

    def flagged(self, scores: Array, decision: Decision) -> npt.NDArray[np.bool_]:
        flagged: npt.NDArray[np.bool_] = scores >= decision[THRESHOLD]
        return flagged

    def evaluate(self, holdout: Answered) -> dict[str, float]:
        return metrics.evaluate(holdout) | metrics.at_threshold(holdout)

    def curves(self, holdout: Answered, label: str) -> tuple[Curve, ...]:
        return curves.precision_recall(holdout, label), curves.calibration(holdout, label)

    def support(self, answered: Answered) -> int:
        return int((answered.labels == 1).sum())

    def too_few(self, answered: Answered) -> str:
        positives = self.support(answered)
        if MINIMUM_POSITIVES <= positives < len(answered.labels):
            return ""
        return (
            f"{positives:,} positives in {len(answered.labels):,} rows, at least"
            f" {MINIMUM_POSITIVES} are needed"
        )

    def too_few_live(self, support: int, rows: int) -> str:
        needed = self.spec.drift.performance.minimum_positives
        return (
            "" if needed <= support < rows else f"{support} labelled positives, {needed} are needed"
        )

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
                "precision_at_1pct_fpr", "precision_at_1pct_fpr",
                "precision when 1 % of negatives are flagged",
                "relative loss", limits.precision_at_1pct_fpr,
            ),
            GuardRule(
                "recall_at_50pct_precision", "recall_at_50pct_precision",
                "recall when half of the flagged are positive",
                "relative loss", limits.recall_at_50pct_precision,
            ),
            GuardRule(
                "calibration", "expected_calibration_error", "expected calibration error",
                "absolute rise", limits.calibration,
            ),
        )  # fmt: skip

    def loss(self, fresh: Answered, promised: Mapping[str, float]) -> Loss:
        gate = self.spec.gate
        share = promised["support_holdout"] / promised["rows_holdout"]
        return metrics.loss(
            fresh,
            promised["pr_auc"],
            share,
            gate.bootstrap_draws,
            gate.confidence,
            self.spec.training.seed,
        )

    def baseline(self, champion: Answered, challenger: Decision) -> dict[str, float]:
        return metrics.at_threshold(champion)

    def intended_use(self, decision: Decision) -> str:
        return (
            f"The score is the probability of {self.spec.label.positive_class}. Answers at or above"
            f" {decision[THRESHOLD]:.4f} are flagged for review. The score is not an accusation: a"
            " person decides about what is flagged."
        )

    def no_skill(self, metrics: Mapping[str, float]) -> tuple[str, float]:
        share = metrics["support_holdout"] / metrics["rows_holdout"]
        return (
            ("PR-AUC of a random score", share)
            if self.spec.gate.primary_metric == "pr_auc"
            else ("ROC-AUC of a random score", 0.5)
        )

    def answers(
        self, scores: Sequence[float], decisions: Sequence[Decision | None]
    ) -> list[AnswerValues]:
        """Return the answers. Without a version there is no threshold, so nothing is flagged."""
        given = []
        for score, decision in zip(scores, decisions, strict=True):
            flagged = decision is not None and score >= decision[THRESHOLD]
            given.append(AnswerValues((score, flagged), flagged))
        return given

    def quantities(
        self, requests: Answered, stakes: npt.NDArray[np.float64]
    ) -> tuple[Quantity, ...]:
        assert requests.flagged is not None
        flagged, positive, negative = requests.flagged, requests.labels == 1, requests.labels == 0
        # Every request has a flag, so only quantities of labels are weighted.
        every, each = np.ones(len(flagged), dtype=bool), requests.each
        euros = np.where(positive, np.nan_to_num(stakes), 0.0) * each

        def share(
            name: str,
            hits: npt.NDArray[np.bool_],
            trials: npt.NDArray[np.bool_],
            needed: int,
            of: str,
            weights: npt.NDArray[np.float64] = each,
        ) -> Quantity:
            return Quantity(name, hits * weights, trials * weights, trials, needed, of)

        euro_name = f"{self.spec.label.positive_class}_euro_catch_rate"
        return (
            share("flag_rate", flagged, every, 0, "requests", np.ones(len(flagged))),
            share("catch_rate", flagged & positive, positive, MINIMUM_POSITIVES, POSITIVES),
            share(
                "false_positive_rate",
                flagged & negative,
                negative,
                live.MINIMUM_NEGATIVES,
                "labelled negatives",
            ),
            Quantity(
                euro_name,
                np.where(flagged, euros, 0.0),
                euros,
                positive,
                MINIMUM_POSITIVES,
                POSITIVES,
                share=False,
            ),
        )

    def results(self, answered: Answered) -> Results:
        return live.results(answered)

    def lacking(self, results: Results) -> str:
        return live.lacking(results, self.spec)

    def performance(self, live_results: Results, holdout: Results) -> dict[str, Measured]:
        return live.performance(live_results, holdout, self.spec)

    def segment(self, name: str, live_results: Results, holdout: Results, level: float) -> Measured:
        return live.catch_rate(name, live_results, holdout, self.spec, level)

    def split_labels(self, labels: Array) -> npt.NDArray[np.bool_]:
        positive: npt.NDArray[np.bool_] = labels == 1
        return positive

    def calibration(self, holdout: Answered) -> tuple[float, ...]:
        found, _ = score_histogram(holdout.scores[holdout.labels == 1])
        rates: list[float] = isotonic_rates(found, score_histogram(holdout.scores)[0]).tolist()
        return tuple(rates)

    def proxies(self, counts: AnswerCounts, calibration: tuple[float, ...]) -> dict[str, float]:
        return {
            estimate.FLAGGED: counts.flagged / max(counts.rows, 1),
            estimate.EXPECTED: estimate.expected_pr_auc(
                counts.score_counts, counts.score_sums, calibration
            ),
        }

    def proxy(self, check: str, counts: AnswerCounts, holdout: Proxies) -> dict[str, Measured]:
        drift = self.spec.drift
        measure, levels = {
            "flagged_rate": (estimate.flagged_rate, drift.performance.flagged_ratio),
            "estimated_performance": (
                estimate.estimated_performance,
                drift.performance.pr_auc_drop,
            ),
        }[check]
        return measure(counts, holdout, levels, drift.minimum_rows, drift.significance)

    @property
    def flag_ratio(self) -> float | None:
        return self.spec.rollout.checks.decline_ratio

    def score_edges(self, baseline: Mapping[str, float]) -> tuple[tuple[float, ...], float] | None:
        return SCORE_EDGES, self.spec.rollout.checks.score_psi

    def label_tests(self, baseline: Mapping[str, float]) -> tuple[LabelTest, ...]:
        """Return the tests of the watch. Without the gate's figures the watch waits.

        There is then no recall to compare catches with.
        """
        checks, recall = self.spec.rollout.checks, baseline.get("recall_at_threshold")
        if recall is None:
            note = "the gate left no recall_at_threshold to compare with"
        elif recall <= checks.catch_rate_drop:
            note = (
                f"finds nothing: the champion caught {recall:.3f}, and catch_rate_drop allows"
                f" {checks.catch_rate_drop} less"
            )
        else:
            note = ""
        allowed = checks.false_positive_ratio * self.spec.serving.threshold_false_positive_rate
        return (
            LabelTest(
                "missed", "share of labelled positives missed",
                None if recall is None else 1 - (recall - checks.catch_rate_drop),
                self.spec.rollout.minimum_positives,
                note,
                selective=True,
            ),
            LabelTest(
                "false_positives", "share of labelled negatives flagged", allowed,
                self.spec.rollout.minimum_requests, counts_flags=True,
                selective=True,
            ),
        )  # fmt: skip

    def kept(self, score: float, flagged: bool | None) -> float:
        return int(bool(flagged))

    def trials(self, kept: float, label: float, baseline: Mapping[str, float]) -> dict[str, bool]:
        return {"missed": not kept} if label == 1 else {"false_positives": bool(kept)}
