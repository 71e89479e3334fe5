"""How good a ranking model is: lists, its figures on a holdout, a challenger's gain, a champion's loss."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from dojo.core.tasks.protocol import Answered, Codes, Loss, Metric
from dojo.core.tasks.ranking.spec import CandidateList
from dojo.stats.inference.bootstrap import RelativeGain, relative_gain_of_means, relative_loss_of_mean
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
    """The list of each row, shape (rows,)."""
    codes = times.astype("datetime64[us]").astype(np.int64) // (rule.within // timedelta(microseconds=1))
    for entity in rule.by:
        _, key = np.unique(entities[entity], return_inverse=True)
        _, codes = np.unique(np.stack([codes, key]), axis=1, return_inverse=True)
    return codes


def ndcg(answered: Answered, rule: CandidateList) -> npt.NDArray[np.float64]:
    """Of each list that has something relevant, shape (lists,)."""
    found = ndcg_by_list(answered.labels, answered.scores, lists_of(answered.entities, answered.times, rule), rule.top)
    return found[np.isfinite(found)]


def evaluate(holdout: Answered, rule: CandidateList) -> dict[str, float]:
    """Every metric."""
    assert holdout.flagged is not None
    indifferent = holdout.scored(np.zeros(len(holdout.labels)), None)
    return {
        "ndcg": float(ndcg(holdout, rule).mean()),
        "random_ndcg": float(ndcg(indifferent, rule).mean()),
        "top_recall": float(holdout.flagged[best(holdout.labels)].mean()),
        "flagged_share": float(holdout.flagged.mean()),
    }


def best(labels: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """The rows with the highest grade that is there."""
    highest: npt.NDArray[np.bool_] = labels == labels.max(initial=0.0)
    return highest


def gain(
    champion: Answered, challenger: Answered, rule: CandidateList, draws: int, confidence: float, seed: int
) -> RelativeGain:
    """The challenger's gain, with whole lists drawn."""
    old, new = ndcg(champion, rule), ndcg(challenger, rule)
    return relative_gain_of_means(old, new, (_each(old),), lower_is_better=False, draws=draws, confidence=confidence, seed=seed)


def loss(fresh: Answered, rule: CandidateList, promised: float, draws: int, confidence: float, seed: int) -> Loss:
    """Loss of NDCG against the holdout's. It is relative to the best order of each list, so lists of other grades compare."""
    lists = ndcg(fresh, rule)
    found = relative_loss_of_mean(
        lists, promised, (_each(lists),), lower_is_better=False, draws=draws, confidence=confidence, seed=seed
    )
    measured = promised * (1 - found.value)
    return Loss(promised, measured, measured, found.value, found.low, found.high)


def _each(lists: npt.NDArray[np.float64]) -> Codes:
    return np.arange(len(lists))
