"""Results of a regression model's labelled answers, and their distance from its holdout. Pure.

A finding is beyond its threshold and beyond chance. Chance comes from the sample, from the holdout
and from rows in clusters.
"""

from __future__ import annotations

import math

import numpy as np

from dojo.core.tasks.measured import Measured
from dojo.core.tasks.records import Answered, Figure, Results
from dojo.core.tasks.regression.spec import RegressionSpec
from dojo.stats.inference.means import clustered_mean, two_sided_z

MAE, BIAS = "mae", "bias"


def results(answered: Answered) -> Results:
    """Return mean absolute error and mean error."""
    errors = answered.scores - answered.labels
    return Results(
        rows=len(errors),
        figures={MAE: _figure(np.abs(errors), answered), BIAS: _figure(errors, answered)},
    )


def performance(live: Results, holdout: Results, spec: RegressionSpec) -> dict[str, Measured]:
    """Return the losses of labelled answers by subject.

    The mean absolute error is a multiple of the holdout's. The shift of the mean error is in mean
    absolute errors of the holdout.
    """
    watch, level = spec.drift.performance, spec.drift.significance
    found = {MAE: error_ratio(MAE, live, holdout, spec, level)}
    scale, before, now = holdout.figures[MAE].value, holdout.figures[BIAS], live.figures[BIAS]
    if found[MAE].value is None or scale is None or before.value is None or now.value is None:
        return found | {BIAS: Measured(BIAS, None, watch.bias, now.rows, note=found[MAE].note)}
    noise = two_sided_z(level) * math.hypot(before.error, now.error) / scale
    note = f"mean error {now.value:+.4g} {spec.label.unit}, {before.value:+.4g} on the holdout"
    return found | {
        BIAS: Measured(
            BIAS, abs(now.value - before.value) / scale, watch.bias, now.rows, noise, note
        )
    }


def error_ratio(
    subject: str, live: Results, holdout: Results, spec: RegressionSpec, level: float
) -> Measured:
    """Return the mean absolute error as a multiple of the holdout's, tested at `level`."""
    watch = spec.drift.performance
    before, now = holdout.figures[MAE], live.figures[MAE]
    if not before.value or now.value is None or min(now.rows, before.rows) < watch.minimum_labels:
        note = (
            f"{now.rows} labelled answers and {before.rows} in the holdout, {watch.minimum_labels}"
            " are needed"
        )
        return Measured(subject, None, watch.mae_ratio, now.rows, note=note)
    ratio = now.value / before.value
    # Delta method for a ratio of two independent means.
    noise = 1 + two_sided_z(level) * math.hypot(
        before.error / before.value, now.error / before.value
    )
    note = (
        f"{now.value:.4g} {spec.label.unit} on {now.rows:,} answers ({now.effective:,.0f}"
        f" independent), {before.value:.4g} on the holdout"
    )
    return Measured(subject, ratio, watch.mae_ratio, now.rows, noise, note)


def _figure(values: np.ndarray[tuple[int], np.dtype[np.float64]], answered: Answered) -> Figure:
    if not len(values):
        return Figure(None, 0, 0.0)
    effective = min(
        clustered_mean(values, keys).effective
        for keys in (np.arange(len(values)), *answered.entities.values())
    )
    return Figure(float(values.mean()), len(values), effective, float(values.std()))
