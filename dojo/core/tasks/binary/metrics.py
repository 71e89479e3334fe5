"""The quality of a binary model: figures on a holdout, a challenger's gain, a champion's loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt

from dojo.core.tasks.records import Answered, Loss, Metric
from dojo.stats.inference.bootstrap import RelativeGain, cluster_weights, rank, relative_gain
from dojo.stats.scores.classification import (
    brier_score,
    expected_calibration_error,
    pr_auc,
    precision_at_fpr,
    recall_at_precision,
    roc_auc,
)

PrimaryMetric = Literal["pr_auc", "roc_auc"]

METRICS: Mapping[str, Metric] = {
    "pr_auc": Metric("PR-AUC (average precision)", "PR-AUC"),
    "roc_auc": Metric("ROC-AUC", "ROC-AUC"),
    "precision_at_1pct_fpr": Metric("Precision at 1 % false positives"),
    "recall_at_50pct_precision": Metric("Recall at 50 % precision"),
    "brier_score": Metric("Brier score (lower is better)", lower_is_better=True),
    "expected_calibration_error": Metric(
        "Expected calibration error (lower is better)", lower_is_better=True
    ),
    "recall_at_threshold": Metric("Recall at the decision threshold"),
    "false_positive_rate_at_threshold": Metric(
        "False-positive rate at the decision threshold", lower_is_better=True
    ),
}


def evaluate(rows: Answered) -> dict[str, float]:
    """Return the metrics that need no threshold."""
    labels, scores, weights = rows.labels, rows.scores, rows.weights
    return {
        "pr_auc": pr_auc(labels, scores, weights),
        "roc_auc": roc_auc(labels, scores, weights),
        "precision_at_1pct_fpr": precision_at_fpr(labels, scores, 0.01, weights),
        "recall_at_50pct_precision": recall_at_precision(labels, scores, 0.5, weights),
        "brier_score": brier_score(labels, scores, weights),
        "expected_calibration_error": expected_calibration_error(labels, scores, weights=weights),
    }


def at_threshold(rows: Answered) -> dict[str, float]:
    """Return the fractions of positives and of negatives that are flagged."""
    assert rows.flagged is not None
    positive, negative = rows.labels == 1, rows.labels == 0
    return {
        "recall_at_threshold": flagged_share(rows.of(positive)),
        "false_positive_rate_at_threshold": flagged_share(rows.of(negative)),
    }


def flagged_share(rows: Answered) -> float:
    """Return the fraction of the rows that is flagged. NaN without rows."""
    assert rows.flagged is not None
    return float(np.dot(rows.flagged, rows.each) / rows.each.sum()) if len(rows.labels) else np.nan


def gain(
    metric: PrimaryMetric,
    champion: Answered,
    challenger: Answered,
    draws: int,
    confidence: float,
    seed: int,
) -> RelativeGain:
    """Return the challenger's gain, with whole entities drawn."""
    clusters = tuple(champion.entities.values())
    return relative_gain(
        metric,
        champion.labels,
        champion.scores,
        challenger.scores,
        clusters,
        draws=draws,
        confidence=confidence,
        seed=seed,
        weights=champion.weights,
    )


def loss(
    fresh: Answered,
    promised: float,
    positive_share: float,
    draws: int,
    confidence: float,
    seed: int,
) -> Loss:
    """Return the loss of PR-AUC against the holdout.

    PR-AUC moves with the share of positives. A week may change this share without any fault of the
    model. The rows are therefore weighted to give positives their share of the holdout.

    Args:
        fresh: Fresh labelled rows, as the champion answered them.
        promised: PR-AUC on the holdout.
        positive_share: Share of positives in the holdout, a fraction.
        draws: Number of bootstrap draws.
        confidence: Confidence of the two-sided interval, a fraction.
        seed: Seed of the draws.
    """
    ranking = rank(fresh.labels, fresh.scores)
    weights = weights_for(fresh, positive_share)

    def lost(drawn: npt.NDArray[np.floating]) -> float:
        return 1 - ranking.pr_auc(drawn) / promised

    value = lost(weights)
    drawn = np.array(
        [
            lost(weights * copies)
            for copies in cluster_weights(tuple(fresh.entities.values()), draws, seed)
        ]
    )
    tail = (1 - confidence) / 2
    low, high = (float(np.nanquantile(drawn, share)) for share in (tail, 1 - tail))
    measured = ranking.pr_auc(fresh.each)
    return Loss(promised, measured, promised * (1 - value), value, low, high)


def weights_for(rows: Answered, positive_share: float) -> npt.NDArray[np.float64]:
    """Return weights, shape (rows,), that give positives the share `positive_share`.

    Negatives keep theirs.
    """
    positive, each = rows.labels == 1, rows.each
    positives, others = each[positive].sum(), each[rows.labels == 0].sum()
    return each * np.where(positive, positive_share / (1 - positive_share) * others / positives, 1)
