"""Step 5: judge the model on the holdout, which nothing was chosen on (D1.5)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dojo.stats.scores.classification import (
    brier_score,
    expected_calibration_error,
    pr_auc,
    precision_at_fpr,
    recall_at_precision,
    roc_auc,
    threshold_at_fpr,
)


def evaluate(labels: npt.NDArray[np.int8], scores: npt.NDArray[np.floating]) -> dict[str, float]:
    """The metrics of a version, by the names that specs use. labels, scores: shape (rows,)."""
    return {
        "pr_auc": pr_auc(labels, scores),
        "roc_auc": roc_auc(labels, scores),
        "precision_at_1pct_fpr": precision_at_fpr(labels, scores, 0.01),
        "recall_at_50pct_precision": recall_at_precision(labels, scores, 0.5),
        "brier_score": brier_score(labels, scores),
        "expected_calibration_error": expected_calibration_error(labels, scores),
    }


def at_threshold(labels: npt.NDArray[np.int8], scores: npt.NDArray[np.floating], threshold: float) -> dict[str, float]:
    """What flagging at `threshold` would have meant: fractions of positives and of legitimate payments that are flagged."""
    flagged = scores >= threshold
    return {
        "recall_at_threshold": float(flagged[labels == 1].mean()),
        "false_positive_rate_at_threshold": float(flagged[labels == 0].mean()),
    }


def choose_threshold(labels: npt.NDArray[np.int8], scores: npt.NDArray[np.floating], false_positive_rate: float) -> float:
    """The decision threshold, from the validation week: choosing it on the holdout would flatter the holdout's figures."""
    return threshold_at_fpr(labels, scores, false_positive_rate)
