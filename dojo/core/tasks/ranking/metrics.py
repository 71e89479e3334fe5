"""The quality of a ranking model: figures on a holdout, a challenger's gain, a champion's loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from dojo.core.tasks.ranking.spec import CandidateList
from dojo.core.tasks.records import Answered, Loss, Metric
from dojo.stats.inference.bootstrap import (
    RelativeGain,
    relative_gain_of_means,
    relative_loss_of_mean,
)
from dojo.stats.scores.ranking import catalogue_coverage, ndcg_by_list, weight_by_list

METRICS: Mapping[str, Metric] = {
    "ndcg": Metric("NDCG of the top ranks, mean of lists", "NDCG"),
    "random_ndcg": Metric("NDCG of a random order"),
    "top_recall": Metric("Share of the best candidates that are flagged"),
    "flagged_share": Metric("Share of all candidates that are flagged"),
    "catalogue_coverage": Metric("Share of the items that reach the top ranks of any list"),
}


@dataclass(frozen=True, slots=True)
class JudgedLists:
    """The lists with relevant candidates.

    Attributes:
        ndcg: NDCG of each list, shape (lists,).
        clusters: Cluster of each list. Lists of the same entities are one cluster, because one
            customer's lists resemble each other.
        weights: Number of like lists that each list stands for, >= 1. None where all are 1.
    """

    ndcg: npt.NDArray[np.float64]
    clusters: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64] | None

    @property
    def mean(self) -> float:
        """The mean NDCG. At least one list is needed."""
        return float(np.average(self.ndcg, weights=self.weights))


def lists_of(
    entities: Mapping[str, npt.NDArray[Any]], times: npt.NDArray[np.datetime64], rule: CandidateList
) -> npt.NDArray[np.int64]:
    """Return the list of each row, shape (rows,)."""
    spans = times.astype("datetime64[us]").astype(np.int64) // (
        rule.within // timedelta(microseconds=1)
    )
    return _codes(spans, *(entities[entity] for entity in rule.by))


def judged_lists(answered: Answered, rule: CandidateList, top: int | None = None) -> JudgedLists:
    """Return the lists with relevant candidates.

    Args:
        answered: Labelled rows with one version's answers.
        rule: Which rows compete.
        top: Number of ranks that count. None for the rule's own.
    """
    ranks = rule.top if top is None else top
    lists = lists_of(answered.entities, answered.times, rule)
    found = ndcg_by_list(answered.labels, answered.scores, lists, ranks, answered.weights)
    _, first = np.unique(lists, return_index=True)
    clusters = (
        _codes(*(answered.entities[entity] for entity in rule.by))[first]
        if rule.by
        else np.arange(len(found))
    )
    judged = np.isfinite(found)
    weights = None
    if answered.weights is not None:
        weights = weight_by_list(answered.labels, lists, ranks, answered.weights)[judged]
    return JudgedLists(found[judged], clusters[judged], weights)


def _codes(*columns: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return a number for each combination of values, shape (rows,)."""
    numbered = np.stack([np.unique(column, return_inverse=True)[1] for column in columns])
    return np.unique(numbered, axis=1, return_inverse=True)[1].reshape(-1).astype(np.int64)


def evaluate(holdout: Answered, rule: CandidateList, best: float) -> dict[str, float]:
    """Return every metric. Only a rule with an item has a coverage.

    Args:
        holdout: Labelled rows with one version's answers.
        rule: Which rows compete.
        best: The highest grade.
    """
    assert holdout.flagged is not None
    indifferent = holdout.scored(np.zeros(len(holdout.labels)), None)
    found = {
        "ndcg": judged_lists(holdout, rule).mean,
        "random_ndcg": judged_lists(indifferent, rule).mean,
        "top_recall": top_recall(holdout, best),
        "flagged_share": float(holdout.flagged.mean()),
    }
    if rule.item is not None:
        lists = lists_of(holdout.entities, holdout.times, rule)
        items = holdout.entities[rule.item]
        found["catalogue_coverage"] = catalogue_coverage(items, holdout.scores, lists, rule.top)
    return found


def top_recall(holdout: Answered, best: float) -> float:
    """Return the flagged share of the candidates with the highest grade. NaN without any."""
    assert holdout.flagged is not None
    at = holdout.labels == best
    return float(np.average(holdout.flagged[at], weights=holdout.each[at])) if at.any() else np.nan


def top_recall_as_labelled(holdout: Answered, best: float) -> float:
    """Return `top_recall` without weights, as a test of single labels measures it."""
    return top_recall(replace(holdout, weights=None), best)


def gain(
    champion: Answered,
    challenger: Answered,
    rule: CandidateList,
    draws: int,
    confidence: float,
    seed: int,
) -> RelativeGain:
    """Return the challenger's gain, with whole clusters of lists drawn."""
    old, new = judged_lists(champion, rule), judged_lists(challenger, rule)
    return relative_gain_of_means(
        old.ndcg,
        new.ndcg,
        (old.clusters,),
        lower_is_better=METRICS["ndcg"].lower_is_better,
        draws=draws,
        confidence=confidence,
        seed=seed,
        weights=old.weights,
    )


def loss(
    fresh: Answered, rule: CandidateList, promised: float, draws: int, confidence: float, seed: int
) -> Loss:
    """Return the loss of NDCG against the holdout.

    NDCG is relative to the best order of each list, so lists with other grades compare.
    """
    lists = judged_lists(fresh, rule)
    found = relative_loss_of_mean(
        lists.ndcg,
        promised,
        (lists.clusters,),
        lower_is_better=METRICS["ndcg"].lower_is_better,
        draws=draws,
        confidence=confidence,
        seed=seed,
        weights=lists.weights,
    )
    measured = promised * (1 - found.value)
    return Loss(promised, measured, measured, found.value, found.low, found.high)
