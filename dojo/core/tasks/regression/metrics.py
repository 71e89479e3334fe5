"""The quality of a regression model: figures on a holdout, a challenger's gain, a champion's loss.

Errors are in the label's unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from dojo.core.tasks.records import Answered, Loss, Metric
from dojo.stats.inference.bootstrap import (
    RelativeGain,
    relative_gain_of_means,
    relative_loss_of_mean,
)

PrimaryMetric = Literal["mae", "rmse"]

LARGE = 0.9  # share of the champion's errors below a large error

METRICS: Mapping[str, Metric] = {
    "mae": Metric("Mean absolute error", "MAE", lower_is_better=True),
    "rmse": Metric("Root mean squared error", "RMSE", lower_is_better=True),
    "p90_error": Metric("90th percentile of absolute errors", lower_is_better=True),
    "relative_bias": Metric(
        "Mean error, as a share of the mean label, without sign", lower_is_better=True
    ),
    "explained_variance": Metric("Share of the labels' variance that is explained (R squared)"),
    "mae_of_median": Metric(
        "Mean absolute error of always answering the holdout's median", lower_is_better=True
    ),
    # Only with the spec's section `interval` (dojo/core/tasks/regression/interval.py).
    "interval_coverage": Metric("Share of labels inside the interval"),
    "interval_width": Metric("Mean width of the interval", lower_is_better=True),
    "pinball_loss": Metric("Mean pinball loss of the interval's two ends", lower_is_better=True),
}


def evaluate(holdout: Answered) -> dict[str, float]:
    """Return every metric of the values."""
    labels, errors = holdout.labels, holdout.scores - holdout.labels
    distance = np.abs(errors)
    variance = float(np.var(labels))
    return {
        "mae": float(distance.mean()),
        "rmse": float(np.sqrt(np.mean(errors**2))),
        "p90_error": float(np.quantile(distance, LARGE)),
        "relative_bias": abs(float(errors.mean())) / max(abs(float(labels.mean())), 1e-12),
        "explained_variance": 1 - float(np.mean(errors**2)) / variance if variance else 0.0,
        "mae_of_median": float(np.abs(labels - np.median(labels)).mean()),
    }


def losses(
    metric: PrimaryMetric, answered: Answered
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return each row's part of the metric, shape (rows,), as absolute or squared errors."""
    errors = answered.scores - answered.labels
    found: np.ndarray[tuple[int], np.dtype[np.float64]] = (
        np.abs(errors) if metric == "mae" else errors**2
    )
    return found


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
    return relative_gain_of_means(
        losses(metric, champion), losses(metric, challenger), clusters,
        lower_is_better=METRICS[metric].lower_is_better,
        root=metric == "rmse", draws=draws, confidence=confidence, seed=seed,
    )  # fmt: skip


def loss(
    metric: PrimaryMetric,
    fresh: Answered,
    promised: float,
    draws: int,
    confidence: float,
    seed: int,
) -> Loss:
    """Return the loss against the holdout.

    Errors are compared without correction, because a larger error costs more for any reason.
    """
    clusters = tuple(fresh.entities.values())
    found = relative_loss_of_mean(
        losses(metric, fresh), promised, clusters, lower_is_better=METRICS[metric].lower_is_better,
        root=metric == "rmse", draws=draws, confidence=confidence, seed=seed,
    )  # fmt: skip
    measured = promised * (1 + found.value)
    return Loss(promised, measured, measured, found.value, found.low, found.high)
