"""The quality of a ranking model: figures on a holdout, a challenger's gain, a champion's loss."""

from __future__ import annotations

from collections.abc import Mapping
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
from dojo.stats.scores.ranking import ndcg_by_list

METRICS: Mapping[str, Metric] = {
    "ndcg": Metric("NDCG of the top ranks, mean of lists", "NDCG"),
    "random_ndcg": Metric("NDCG of a random order"),
    "top_recall": Metric("Share of the best candidates that are flagged"),
    "flagged_share": Metric("Share of all candidates that are flagged"),
}


def lists_of(
    entities: Mapping[str, npt.NDArray[Any]], times: npt.NDArray[np.datetime64], rule: CandidateList
) -> npt.NDArray[np.int64]:
    """Return the list of each row, shape (rows,)."""
    spans = times.astype("datetime64[us]").astype(np.int64) // (
        rule.within // timedelta(microseconds=1)
    )
    return _codes(spans, *(entities[entity] for entity in rule.by))


def ndcg(
    answered: Answered, rule: CandidateList
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return NDCG and cluster of each list with relevant candidates, shape (lists,) each.

    Lists of the same entities are one cluster, because one customer's lists resemble each other.
    """
    lists = lists_of(answered.entities, answered.times, rule)
    found = ndcg_by_list(answered.labels, answered.scores, lists, rule.top)
    _, first = np.unique(lists, return_index=True)
    clusters = (
        _codes(*(answered.entities[entity] for entity in rule.by))[first]
        if rule.by
        else np.arange(len(found))
    )
    judged = np.isfinite(found)
    return found[judged], clusters[judged]


def _codes(*columns: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return a number for each combination of values, shape (rows,)."""
    numbered = np.stack([np.unique(column, return_inverse=True)[1] for column in columns])
    return np.unique(numbered, axis=1, return_inverse=True)[1].reshape(-1).astype(np.int64)


def evaluate(holdout: Answered, rule: CandidateList, best: float) -> dict[str, float]:
    """Return every metric.

    Args:
        holdout: Labelled rows with one version's answers.
        rule: Which rows compete.
        best: The highest grade.
    """
    assert holdout.flagged is not None
    indifferent = holdout.scored(np.zeros(len(holdout.labels)), None)
    return {
        "ndcg": float(ndcg(holdout, rule)[0].mean()),
        "random_ndcg": float(ndcg(indifferent, rule)[0].mean()),
        "top_recall": float(holdout.flagged[holdout.labels == best].mean()),
        "flagged_share": float(holdout.flagged.mean()),
    }


def gain(
    champion: Answered,
    challenger: Answered,
    rule: CandidateList,
    draws: int,
    confidence: float,
    seed: int,
) -> RelativeGain:
    """Return the challenger's gain, with whole clusters of lists drawn."""
    (old, clusters), (new, _) = ndcg(champion, rule), ndcg(challenger, rule)
    return relative_gain_of_means(
        old,
        new,
        (clusters,),
        lower_is_better=METRICS["ndcg"].lower_is_better,
        draws=draws,
        confidence=confidence,
        seed=seed,
    )


def loss(
    fresh: Answered, rule: CandidateList, promised: float, draws: int, confidence: float, seed: int
) -> Loss:
    """Return the loss of NDCG against the holdout.

    NDCG is relative to the best order of each list, so lists with other grades compare.
    """
    lists, clusters = ndcg(fresh, rule)
    found = relative_loss_of_mean(
        lists,
        promised,
        (clusters,),
        lower_is_better=METRICS["ndcg"].lower_is_better,
        draws=draws,
        confidence=confidence,
        seed=seed,
    )
    measured = promised * (1 - found.value)
    return Loss(promised, measured, measured, found.value, found.low, found.high)
