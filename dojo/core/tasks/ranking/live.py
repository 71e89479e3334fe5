"""Results of a ranking model's labelled lists, and their distance from its holdout. Pure.

A list counts with the labelled candidates. A finding is beyond its threshold and beyond chance.
"""

from __future__ import annotations

import math

import numpy as np

from dojo.core.tasks.measured import Measured
from dojo.core.tasks.ranking import metrics
from dojo.core.tasks.ranking.spec import RankingSpec
from dojo.core.tasks.records import Answered, Figure, Results
from dojo.stats.inference.means import clustered_mean, two_sided_z, weighted_variance

NDCG = "ndcg"


def results(answered: Answered, spec: RankingSpec) -> Results:
    """Return the mean NDCG of the lists with relevant candidates."""
    lists = metrics.judged_lists(answered, spec.label.list)
    rows = len(lists.ndcg)
    if not rows:
        return Results(rows=len(answered.labels), figures={NDCG: Figure(None, 0, 0.0)})
    each = np.ones(rows) if lists.weights is None else lists.weights
    figure = Figure(
        lists.mean,
        rows,
        clustered_mean(lists.ndcg, lists.clusters, each).effective,
        math.sqrt(weighted_variance(lists.ndcg, each)),
    )
    return Results(rows=len(answered.labels), figures={NDCG: figure})


def ndcg_drop(
    subject: str, live: Results, holdout: Results, spec: RankingSpec, level: float
) -> Measured:
    """Return the relative drop of the mean NDCG, tested at `level`."""
    watch = spec.drift.performance
    before, now = holdout.figures[NDCG], live.figures[NDCG]
    if not before.value or now.value is None or min(now.rows, before.rows) < watch.minimum_lists:
        note = (
            f"{now.rows} labelled lists and {before.rows} in the holdout, {watch.minimum_lists} are"
            " needed"
        )
        return Measured(subject, None, watch.ndcg_drop, now.rows, note=note)
    noise = two_sided_z(level) * math.hypot(before.error, now.error) / before.value
    note = f"{now.value:.3f} on {now.rows} lists, {before.value:.3f} on the holdout"
    return Measured(
        subject, max(0.0, 1 - now.value / before.value), watch.ndcg_drop, now.rows, noise, note
    )
