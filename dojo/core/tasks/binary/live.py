"""Results of a binary model's labelled answers, and their distance from its holdout. Pure.

A finding is beyond its threshold and beyond chance. Chance comes from the sample, from the holdout
and from positives in clusters. One merchant's positives are caught or missed together, so hundreds
of positives may be worth dozens.
"""

from __future__ import annotations

import math

import numpy as np

from dojo.core.tasks.binary.metrics import flagged_share
from dojo.core.tasks.binary.spec import BinarySpec
from dojo.core.tasks.measured import Measured
from dojo.core.tasks.records import Answered, Figure, Results
from dojo.stats.inference.means import two_sided_z
from dojo.stats.inference.proportions import (
    Rate,
    clustered_rate,
    newcombe_interval,
    wilson_interval,
)
from dojo.stats.scores.classification import MINIMUM_POSITIVES, pr_auc

CATCH_RATE, FALSE_POSITIVES, PR_AUC = "catch_rate", "false_positive_rate", "pr_auc"

# Subject of `performance` for false positives: the measured rate divided by the allowed rate.
FALSE_ALARMS = "false_positives"

# Fewer negatives are insufficient data too. With 1,000, a false-positive rate of 1 % is known to
# +-0.6 percentage points (95 %).
MINIMUM_NEGATIVES = 1000


def results(answered: Answered) -> Results:
    """Return the catch rate of positives, the false-positive rate of negatives, and the PR-AUC."""
    labels = answered.labels
    positive = labels == 1
    count = int(positive.sum())
    both = positive.any() and not positive.all()
    positives, negatives = answered.of(positive), answered.of(~positive)
    known = _effective(positives)
    measurable = both and count >= MINIMUM_POSITIVES
    return Results(
        rows=len(labels),
        figures={
            CATCH_RATE: Figure(_share(positives), count, known),
            FALSE_POSITIVES: Figure(_share(negatives), len(labels) - count, _effective(negatives)),
            PR_AUC: Figure(
                pr_auc(labels, answered.scores, answered.weights) if measurable else None,
                count,
                known,
            ),
        },
    )


def lacking(found: Results, spec: BinarySpec) -> str:
    """Return what is missing before the figures mean anything. Empty when nothing is missing."""
    needed, positives = spec.drift.performance.minimum_positives, found.figures[CATCH_RATE].rows
    return "" if positives >= needed else f"needs {needed} labelled positives, has {positives:,}"


def performance(live: Results, holdout: Results, spec: BinarySpec) -> dict[str, Measured]:
    """Return the losses of labelled answers by subject.

    The catch rate has an absolute drop and PR-AUC a relative drop. False positives are a multiple
    of the allowed rate.
    """
    watch, level = spec.drift.performance, spec.drift.significance
    found = {CATCH_RATE: catch_rate(CATCH_RATE, live, holdout, spec, level)}
    allowed, negatives = spec.serving.threshold_false_positive_rate, live.figures[FALSE_POSITIVES]
    subject = FALSE_ALARMS
    if negatives.value is None or negatives.rows < MINIMUM_NEGATIVES:
        found[subject] = Measured(
            subject, None, watch.false_positive_ratio, negatives.rows,
            note=f"{negatives.rows:,} labelled negatives, {MINIMUM_NEGATIVES:,} are needed",
        )  # fmt: skip
    else:
        reached = wilson_interval(allowed, max(negatives.effective, 1.0), 1 - level)[1]
        found[subject] = Measured(
            subject, negatives.value / allowed, watch.false_positive_ratio, negatives.rows,
            reached / allowed,
            f"{negatives.value:.2%} of {negatives.rows:,} negatives were flagged",
        )  # fmt: skip
    return found | {PR_AUC: _pr_auc(live.figures[PR_AUC], holdout.figures[PR_AUC], spec, level)}


def catch_rate(
    subject: str, live: Results, holdout: Results, spec: BinarySpec, level: float
) -> Measured:
    """Return the absolute drop of the catch rate, tested at `level`."""
    watch = spec.drift.performance
    before, now = holdout.figures[CATCH_RATE], live.figures[CATCH_RATE]
    if (
        before.value is None
        or now.value is None
        or min(now.rows, before.rows) < watch.minimum_positives
    ):
        note = f"{now.rows} labelled positives, {watch.minimum_positives} are needed"
        if before.rows < watch.minimum_positives:
            note = f"the holdout has {before.rows} positives, {watch.minimum_positives} are needed"
        return Measured(subject, None, watch.catch_rate_drop, now.rows, note=note)
    drop = before.value - now.value
    low, _ = newcombe_interval(_rate(before), _rate(now), 1 - level)
    note = (
        f"caught {now.value:.0%} of {now.rows} positives ({now.effective:.0f} independent),"
        f" {before.value:.0%} in the holdout"
    )
    return Measured(subject, max(0.0, drop), watch.catch_rate_drop, now.rows, drop - low, note)


def _pr_auc(now: Figure, before: Figure, spec: BinarySpec, level: float) -> Measured:
    """Return the relative drop of PR-AUC, tested at `level`.

    Source: Boyd, Eng and Page, Area under the Precision-Recall Curve: Point Estimates and
        Confidence
    Intervals (2013), for the binomial interval.
    """
    watch = spec.drift.performance
    if before.value is None or now.value is None or now.rows < watch.minimum_positives:
        return Measured(PR_AUC, None, watch.pr_auc_drop, now.rows)
    variance = (
        before.value
        * (1 - before.value)
        * (1 / max(before.effective, 1.0) + 1 / max(now.effective, 1.0))
    )
    noise = two_sided_z(level) * math.sqrt(variance) / before.value
    note = f"{now.value:.3f} on {now.rows} positives, {before.value:.3f} on the holdout"
    return Measured(
        PR_AUC, max(0.0, 1 - now.value / before.value), watch.pr_auc_drop, now.rows, noise, note
    )


def _rate(figure: Figure) -> Rate:
    return Rate(figure.value or 0.0, figure.rows, 0, max(figure.effective, 1.0))


def _share(rows: Answered) -> float | None:
    return flagged_share(rows) if len(rows.labels) else None


def _effective(rows: Answered) -> float:
    """Return how many independent rows would give the flagged share the same precision.

    The kind of entity with the strongest resemblance between rows decides. So do unequal weights.

    Source: Kish, Survey Sampling (1965), for the effective number of weighted rows.
    """
    if not len(rows.labels):
        return 0.0
    assert rows.flagged is not None
    each = rows.each
    hits = rows.flagged * each
    found = [float(each.sum() ** 2 / np.dot(each, each))]
    if rows.weights is not None:
        found.append(clustered_rate(hits, each).effective)
    for keys in rows.entities.values():
        _, cluster = np.unique(keys, return_inverse=True)
        found.append(
            clustered_rate(
                np.bincount(cluster, weights=hits), np.bincount(cluster, weights=each)
            ).effective
        )
    return min(found)
