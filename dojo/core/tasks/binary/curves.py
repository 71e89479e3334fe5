"""Pictures of a binary model's answers: precision against recall, and calibration."""

from __future__ import annotations

import numpy as np

from dojo.core.tasks.records import Answered, Curve
from dojo.stats.scores.classification import pr_auc

# Cuts of scores, as shares of rows from the lowest score. Bins narrow towards the highest score.
# Nearly all rows score below one percent. Bins of equal width or equal counts would hide the few
# important rows.
CALIBRATION_CUTS = (0, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 1)


def precision_recall(holdout: Answered, label: str) -> Curve:
    """Return precision against recall over all thresholds, with the operating point of flagging."""
    labels, scores, each = holdout.labels, holdout.scores, holdout.each
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum((labels * each)[order])
    last_of_tie = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    mark = None
    if holdout.flagged is not None and holdout.flagged.any():
        caught = (labels * each)[holdout.flagged].sum()
        mark = (
            f"threshold {scores[holdout.flagged].min():.3f}",
            float(caught / found[-1]),
            float(caught / each[holdout.flagged].sum()),
        )
    share = float(found[-1] / each.sum())
    return Curve(
        name="precision_recall",
        title="precision and recall",
        x_label="Recall: share of positives that are flagged",
        y_label="Precision: share of positives among flagged",
        label=f"{label} (PR-AUC {pr_auc(labels, scores, holdout.weights):.3f})",
        x=(found / found[-1])[last_of_tie],
        y=(found / np.cumsum(each[order]))[last_of_tie],
        step=True,
        shares=True,
        reference=(f"random score ({share:.2%} positive)", (0.0, 1.0), (share, share)),
        mark=mark,
    )


def calibration(holdout: Answered, label: str) -> Curve:
    """Return the observed against the predicted rate of positives, both axes logarithmic."""
    labels, scores = holdout.labels, holdout.scores
    cuts = np.unique(np.quantile(scores, CALIBRATION_CUTS))
    index = np.clip(np.searchsorted(cuts, scores, side="right") - 1, 0, len(cuts) - 2)
    rows = np.bincount(index, minlength=len(cuts) - 1)  # their number decides the interval
    each = holdout.each
    weight = np.maximum(np.bincount(index, weights=each, minlength=len(rows)), 1)
    predicted = np.bincount(index, weights=scores * each, minlength=len(rows)) / weight
    observed = np.bincount(index, weights=labels * each, minlength=len(rows)) / weight
    error = 1.96 * np.sqrt(
        observed * (1 - observed) / np.maximum(rows, 1)
    )  # 95 %, normal approximation
    shown = (rows > 0) & (observed > 0)
    low = max(float(np.min(np.concatenate([predicted[shown], observed[shown], [0.1]]))) / 2, 1e-5)
    return Curve(
        name="calibration",
        title="calibration",
        x_label="Predicted probability (mean of bin)",
        y_label="Observed share of positives",
        label=f"{label}, 95 % interval",
        x=predicted[shown],
        y=observed[shown],
        error=np.minimum(error, observed * 0.9)[shown],
        log=True,
        reference=("perfect", (low, 1.0), (low, 1.0)),
    )
