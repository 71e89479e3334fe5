"""Pictures of a regression model's answers: its errors, and predicted against actual values."""

from __future__ import annotations

import numpy as np

from dojo.core.tasks.records import Answered, Curve

BINS = 10
SHARES = np.linspace(
    0, 0.99, 100
)  # the last percent of errors would squeeze all others to the left


def error_distribution(holdout: Answered, label: str, unit: str) -> Curve:
    """Return the share of answers with an error of at most x."""
    distance = np.abs(holdout.scores - holdout.labels)
    return Curve(
        name="errors",
        title="absolute errors",
        x_label=f"Absolute error, {unit}",
        y_label="Share of answers with at most this error",
        label=f"{label} (MAE {distance.mean():.4g})",
        x=np.quantile(distance, SHARES),
        y=SHARES,
    )


def predicted_actual(holdout: Answered, label: str, unit: str) -> Curve:
    """Return mean actual against mean predicted values, in bins of equally many rows."""
    order = np.argsort(holdout.scores, kind="stable")
    bins = [rows for rows in np.array_split(order, BINS) if len(rows)]
    predicted = np.array([holdout.scores[rows].mean() for rows in bins])
    actual = np.array([holdout.labels[rows].mean() for rows in bins])
    error = np.array(
        [1.96 * holdout.labels[rows].std() / np.sqrt(len(rows)) for rows in bins]
    )  # 95 %, normal approximation
    ends = (float(min(predicted[0], actual.min())), float(max(predicted[-1], actual.max())))
    return Curve(
        name="predicted_actual",
        title="predicted and actual values",
        x_label=f"Predicted, {unit} (mean of a tenth of the rows)",
        y_label=f"Actual, {unit} (mean)",
        label=f"{label}, 95 % interval",
        x=predicted,
        y=actual,
        error=error,
        reference=("perfect", ends, ends),
    )
