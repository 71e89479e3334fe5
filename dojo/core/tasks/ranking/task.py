"""The task of a ranking model (dojo/core/tasks/protocol.py: Task)."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import msgspec
import numpy as np
import numpy.typing as npt

from dojo.core.tasks.measured import Measured
from dojo.core.tasks.protocol import Task
from dojo.core.tasks.ranking import curves, live, metrics
from dojo.core.tasks.ranking.spec import RankingSpec
from dojo.core.tasks.records import (
    AnswerColumn,
    Answered,
    AnswerValues,
    Array,
    Codes,
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
    Targets,
)
from dojo.stats.histograms.binning import correlation_ratio
from dojo.stats.inference.bootstrap import RelativeGain
from dojo.stats.scores.ranking import gains_of, rank_in_list, weight_by_list

# Key of the decision: the score exceeded by a list's top candidates on the validation rows.
CUT = "cut"

# Bins of a feature for its correlation ratio.
BINS = 10

# With fewer lists, a mean's interval is wider than +-0.1 (95 %), because lists differ by about
# 0.25.
MINIMUM_LISTS = 30

COLUMNS = (
    AnswerColumn(
        "score",
        Annotated[
            float,
            msgspec.Meta(description="Orders the candidates of a list. Its scale means nothing."),
        ],
        "FP64",
        0.83,
    ),
    AnswerColumn(
        "rank",
        Annotated[
            int,
            msgspec.Meta(ge=1, description="Among the instances of this request; 1 is the best."),
        ],
        "INT64",
        1,
    ),
)


@dataclass(frozen=True, slots=True)
class Ranking(Task):
    """One ranking model's task.

    Scores of two versions are not compared, because their scale differs from training to training.
    """

    spec: RankingSpec

    metrics: ClassVar[Mapping[str, Metric]] = metrics.METRICS
    support_name: ClassVar[str] = "lists"
    headline: ClassVar[str] = live.NDCG
    score_bounds: ClassVar[tuple[float, float]] = (-sys.float_info.max, sys.float_info.max)
    level_keys: ClassVar[Mapping[str, str]] = {live.NDCG: "ndcg_drop", "segments": "ndcg_drop"}
    essential: ClassVar[frozenset[str]] = frozenset({live.NDCG})
    columns: ClassVar[tuple[AnswerColumn, ...]] = COLUMNS

    @property
    def label_values(self) -> LabelValues:
        return LabelValues(allowed=tuple(float(grade) for grade in range(self.spec.label.grades)))

    def label_faults(self, labels: Array) -> list[str]:
        low, high = self.spec.training.relevant_rate
        rate = float((labels > 0).mean()) if len(labels) else 0.0
        if low <= rate <= high:
            return []
        return [
            f"outcomes.label: expected a share of relevant candidates from {low:.2%} to {high:.2%}"
            f" (spec: training.relevant_rate), found {rate:.3%} of {len(labels):,} labels"
        ]

    @property
    def best(self) -> float:
        """The highest grade."""
        return float(self.spec.label.grades - 1)

    def part_fault(self, labels: Array) -> str:
        if len(labels) and labels.min() < labels.max() == self.best:
            return ""
        return f"expected grades that differ, up to {self.best:g}, found {len(labels):,} rows" + (
            f" with {labels.min():g} to {labels.max():g}" if len(labels) else ""
        )

    def leak(self, values: Array, labels: Array) -> Leak:
        value = 0.0
        if not self.part_fault(labels):
            value = correlation_ratio(values.astype(np.float64), labels.astype(np.float64), BINS)
        return Leak(
            "correlation_ratio",
            "a correlation ratio",
            value,
            self.spec.training.checks.correlation_ratio,
        )

    @property
    def objective(self) -> Mapping[str, Any]:
        top = self.spec.label.list.top
        return {
            "objective": "lambdarank",
            "metric": "ndcg",
            "eval_at": [top],
            "lambdarank_truncation_level": 2 * top,
        }

    def lists(
        self, entities: Mapping[str, npt.NDArray[Any]], times: npt.NDArray[np.datetime64]
    ) -> Codes | None:
        return metrics.lists_of(entities, times, self.spec.label.list)

    @property
    def listed_by(self) -> tuple[str, ...]:
        return self.spec.label.list.by

    @property
    def item(self) -> str | None:
        return self.spec.label.list.item

    def targets(
        self,
        labels: npt.NDArray[np.float64],
        weights: npt.NDArray[np.float64] | None,
        lists: Codes | None,
    ) -> Targets:
        """Return gains as targets, and the weights of lists.

        LightGBM multiplies each row's gradient by its weight, those of unclicked rows too. So a
        label's weight is no row's weight. It multiplies the gain that LambdaRank knows of the
        label (`label_gain`). LambdaRank divides a list's gains by their ideal. The list's weight
        gives this back.
        """
        if weights is None:
            return Targets(labels, None)
        assert lists is not None
        gains, levels = np.unique(gains_of(labels, weights), return_inverse=True)
        each = weight_by_list(labels, lists, self.spec.label.list.top, weights)
        _, number = np.unique(lists, return_inverse=True)
        return Targets(
            levels.astype(np.float64),
            np.nan_to_num(each, nan=1.0)[number],
            {"label_gain": gains.tolist()},
        )

    def stands_for(self, weights: npt.NDArray[np.float64] | None) -> npt.NDArray[np.float64] | None:
        """Return None. Each shown candidate has a label, and a weight corrects the label alone."""
        return None

    def decide(self, validation: Answered) -> dict[str, float]:
        """Choose the score exceeded by as many candidates as the lists have top ranks."""
        lists = metrics.lists_of(validation.entities, validation.times, self.spec.label.list)
        _, sizes = np.unique(lists, return_counts=True)
        share = float(np.minimum(sizes, self.spec.label.list.top).sum()) / len(lists)
        return {CUT: float(np.quantile(validation.scores, 1 - share))}

    def flagged(self, scores: Array, decision: Decision) -> npt.NDArray[np.bool_]:
        flagged: npt.NDArray[np.bool_] = scores >= decision[CUT]
        return flagged

    def evaluate(self, holdout: Answered) -> dict[str, float]:
        return metrics.evaluate(holdout, self.spec.label.list, self.best)

    def curves(self, holdout: Answered, label: str) -> tuple[Curve, ...]:
        rule = self.spec.label.list
        return curves.ndcg_by_ranks(holdout, label, rule), curves.grade_by_rank(
            holdout, label, rule
        )

    def support(self, answered: Answered) -> int:
        return len(metrics.judged_lists(answered, self.spec.label.list).ndcg)

    def too_few(self, answered: Answered) -> str:
        lists = self.support(answered)
        return (
            ""
            if lists >= MINIMUM_LISTS
            else f"{lists:,} lists with anything relevant, at least {MINIMUM_LISTS} are needed"
        )

    def too_few_live(self, support: int, rows: int) -> str:
        needed = self.spec.drift.performance.minimum_lists
        return "" if support >= needed else f"{support:,} labelled lists, {needed:,} are needed"

    def gain(self, champion: Answered, challenger: Answered, draws: int) -> RelativeGain:
        gate = self.spec.gate
        return metrics.gain(
            champion,
            challenger,
            self.spec.label.list,
            draws,
            gate.confidence,
            self.spec.training.seed,
        )

    @property
    def guards(self) -> tuple[GuardRule, ...]:
        limits = self.spec.gate.guards
        recall = GuardRule(
            "top_recall", "top_recall", "share of the best candidates that are flagged",
            "relative loss", limits.top_recall,
        )  # fmt: skip
        if limits.coverage is None:
            return (recall,)
        coverage = GuardRule(
            "coverage", "catalogue_coverage", "share of the items that reach the top ranks",
            "relative loss", limits.coverage,
        )  # fmt: skip
        return recall, coverage

    def loss(self, fresh: Answered, promised: Mapping[str, float]) -> Loss:
        gate = self.spec.gate
        return metrics.loss(
            fresh,
            self.spec.label.list,
            promised["ndcg"],
            gate.bootstrap_draws,
            gate.confidence,
            self.spec.training.seed,
        )

    def baseline(self, champion: Answered, challenger: Decision) -> dict[str, float]:
        return {"top_recall": metrics.top_recall_as_labelled(champion, self.best)}

    def intended_use(self, decision: Decision) -> str:
        rule = self.spec.label.list
        return (
            f"The score orders candidates by {self.spec.label.truth}; the first {rule.top} of a"
            f" list count. Candidates that score {decision[CUT]:.4f} or more are flagged: as many"
            " as the lists have top ranks."
        )

    def no_skill(self, metrics: Mapping[str, float]) -> tuple[str, float]:
        return "NDCG of a random order", metrics["random_ndcg"]

    def answers(
        self, scores: Sequence[float], decisions: Sequence[Decision | None]
    ) -> list[AnswerValues]:
        """Return ranks, with the instances of one request as one list.

        Without a version, instances keep the order in which they were sent.
        """
        ranks = rank_in_list(
            np.asarray(scores, dtype=np.float64), np.zeros(len(scores), dtype=np.int64)
        ).tolist()
        return [
            AnswerValues((score, rank), decision is not None and score >= decision[CUT])
            for score, rank, decision in zip(scores, ranks, decisions, strict=True)
        ]

    def quantities(
        self, requests: Answered, stakes: npt.NDArray[np.float64]
    ) -> tuple[Quantity, ...]:
        """Return recall alone.

        A list may have candidates of both arms, so its order belongs to neither arm.
        """
        assert requests.flagged is not None
        best = requests.labels == self.best
        needed = self.spec.rollout.minimum_labels
        trials = best * requests.each
        return (
            Quantity(
                "top_recall",
                requests.flagged * trials,
                trials,
                best,
                needed,
                "labelled best candidates",
            ),
        )

    def results(self, answered: Answered) -> Results:
        return live.results(answered, self.spec)

    def lacking(self, results: Results) -> str:
        needed, found = self.spec.drift.performance.minimum_lists, results.figures[live.NDCG].rows
        return "" if found >= needed else f"needs {needed:,} labelled lists, has {found:,}"

    def performance(self, live_results: Results, holdout: Results) -> dict[str, Measured]:
        return {
            live.NDCG: live.ndcg_drop(
                live.NDCG, live_results, holdout, self.spec, self.spec.drift.significance
            )
        }

    def segment(self, name: str, live_results: Results, holdout: Results, level: float) -> Measured:
        return live.ndcg_drop(name, live_results, holdout, self.spec, level)

    def split_labels(self, labels: Array) -> npt.NDArray[np.bool_]:
        relevant: npt.NDArray[np.bool_] = labels > 0
        return relevant

    @property
    def flag_ratio(self) -> float | None:
        return self.spec.rollout.checks.flagged_ratio

    def label_tests(self, baseline: Mapping[str, float]) -> tuple[LabelTest, ...]:
        recall = baseline.get("top_recall")
        return (
            LabelTest(
                "missed_top", "share of labelled best candidates that are not flagged",
                None if recall is None
                else 1 - recall * (1 - self.spec.rollout.checks.top_recall_drop),
                self.spec.rollout.minimum_labels,
                "" if recall is not None else "the gate left no top_recall to compare with",
            ),
        )  # fmt: skip

    def kept(self, score: float, flagged: bool | None) -> float:
        return int(bool(flagged))

    def trials(self, kept: float, label: float, baseline: Mapping[str, float]) -> dict[str, bool]:
        return {"missed_top": not kept} if label == self.best else {}
