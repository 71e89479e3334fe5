"""Results of a regression model's labelled answers, and their distance from its holdout. Pure.

A finding is beyond its threshold and beyond chance. Chance comes from the sample, from the holdout
and from rows in clusters.
"""

from __future__ import annotations

import math

import numpy as np
from msgspec import structs

from dojo.core.tasks.measured import Measured
from dojo.core.tasks.records import Answered, Figure, Results
from dojo.core.tasks.regression import interval
from dojo.core.tasks.regression.spec import RegressionSpec
from dojo.stats.inference.means import clustered_mean, two_sided_z
from dojo.stats.inference.proportions import wilson_interval

MAE, BIAS, COVERAGE = "mae", "bias", "coverage"


def results(answered: Answered, spec: RegressionSpec) -> Results:
    """Return mean absolute error, mean error, and the coverage of the version's interval."""
    errors = answered.scores - answered.labels
    figures = {MAE: _figure(np.abs(errors), answered), BIAS: _figure(errors, answered)}
    if (covered := interval.covered(answered, spec)) is not None:
        found = _figure(covered.astype(np.float64), answered)
        figures[COVERAGE] = structs.replace(found, spread=0.0)
    return Results(rows=len(errors), figures=figures)


def performance(live: Results, holdout: Results, spec: RegressionSpec) -> dict[str, Measured]:
    """Return the losses of labelled answers by subject.

    The mean absolute error is a multiple of the holdout's. The shift of the mean error is in mean
    absolute errors of the holdout. The interval's coverage drops from the promised one.
    """
    watch, level = spec.drift.performance, spec.drift.significance
    found = {MAE: error_ratio(MAE, live, holdout, spec, level), **_coverage(live, spec, level)}
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


def _coverage(live: Results, spec: RegressionSpec, level: float) -> dict[str, Measured]:
    watch, section = spec.drift.performance, spec.interval
    if section is None or watch.coverage is None:
        return {}
    now = live.figures.get(COVERAGE, Figure(None, live.rows, 0.0))
    if now.value is None or now.rows < watch.minimum_labels:
        note = (
            f"{now.rows} labelled answers, {watch.minimum_labels} are needed"
            if now.rows < watch.minimum_labels
            else "the version was trained without an interval"
        )
        return {COVERAGE: Measured(COVERAGE, None, watch.coverage, now.rows, note=note)}
    outside = 1 - section.coverage
    reached = wilson_interval(outside, max(now.effective, 1.0), 1 - level)[1]
    note = (
        f"{now.value:.1%} of {now.rows:,} labels lie inside ({now.effective:,.0f} independent),"
        f" {section.coverage:.0%} are promised"
    )
    drop = max(0.0, section.coverage - now.value)
    return {COVERAGE: Measured(COVERAGE, drop, watch.coverage, now.rows, reached - outside, note)}


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
