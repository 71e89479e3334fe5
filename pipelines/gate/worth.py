"""What a version's answers would be worth on the holdout, in euros a day.

The shop's own rules say it (dojo/shop/uses.py, dojo/shop/lists.py). Every flag is acted on, without
a control group and without reviewers. The verdict rests on the primary metric alone. Euros tell
people what a gain of it means.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from dojo.core.judging.gate.decision import Worth
from dojo.core.judging.gate.holdout import Candidate, GateHoldout
from dojo.core.spec.schema import ModelSpec
from dojo.core.tasks.ranking.metrics import lists_of
from dojo.core.tasks.ranking.spec import RankingSpec
from dojo.core.tasks.records import Answered
from dojo.core.tasks.regression.interval import ends_of
from dojo.core.tasks.regression.spec import RegressionSpec
from dojo.shop.events import SHOP_EVENTS, Listed
from dojo.shop.lists import ATTENTION, gain_euro
from dojo.shop.truths import BOUGHT, TRUTHS
from dojo.shop.uses import USES, Use
from dojo.stats.inference.means import clustered_mean, two_sided_z, weighted_variance
from dojo.stats.scores.ranking import rank_in_list

Euros = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _HoldoutAnswer:
    """One answer, as the shop reads it (dojo/shop/uses.py: UsableAnswer)."""

    flagged: bool | None
    value: float | None
    high: float | None


def worth(
    spec: ModelSpec,
    rows: pl.DataFrame,
    holdout: GateHoldout,
    champion: Candidate | None,
    challenger: Candidate,
) -> Worth | None:
    """Return the euros of both versions, and their difference.

    Args:
        spec: The model's spec.
        rows: The holdout with the features' inputs, in the order of `holdout`.
        holdout: The same rows in the gate's form.
        champion: None for a model's first version.
        challenger: The candidate.

    Returns:
        None where the shop's rules do not say it, or a version has no scores.
    """
    new = _euros(spec, rows, holdout, challenger)
    if new is None or not len(new):
        return None
    days = (holdout.end - holdout.start).total_seconds() / 86_400
    each = np.ones(len(new)) if holdout.weights is None else holdout.weights
    old = None if champion is None else _euros(spec, rows, holdout, champion)
    a_day = float((each * new).sum()) / days
    if old is None:
        return Worth(challenger=a_day)
    entity = spec.entities[0]
    gained = new - old
    mean = clustered_mean(gained, holdout.clusters[entity], each)
    scale = float(each.sum()) / days
    error = np.sqrt(weighted_variance(gained, each) / mean.effective) * scale
    margin = two_sided_z(1 - spec.gate.confidence) * float(error)
    difference = mean.value * scale
    return Worth(
        challenger=a_day,
        champion=float((each * old).sum()) / days,
        difference=difference,
        low=difference - margin,
        high=difference + margin,
    )


def _euros(
    spec: ModelSpec, rows: pl.DataFrame, holdout: GateHoldout, candidate: Candidate
) -> Euros | None:
    """Return the worth of each row, euro, shape (rows,), without the rows' weights."""
    if candidate.scores is None or spec.label.truth not in TRUTHS:
        return None
    answered = holdout.answered(candidate, spec)
    if isinstance(spec, RankingSpec):
        listed = issubclass(SHOP_EVENTS[spec.label.event], Listed) and "price" in rows.columns
        return _of_lists(spec, rows, answered) if listed else None
    use = USES.get(spec.label.truth)
    if use is None or (use.of_amount and "amount" not in rows.columns):
        return None
    return _one_by_one(use, spec, rows, answered)


def _one_by_one(use: Use, spec: ModelSpec, rows: pl.DataFrame, answered: Answered) -> Euros:
    ends = ends_of(answered, spec) if isinstance(spec, RegressionSpec) else None
    count = len(answered.labels)
    high = [None] * count if ends is None else ends.high.tolist()
    flags = [None] * count if answered.flagged is None else answered.flagged.tolist()
    amounts = rows["amount"].to_list() if use.of_amount else [0.0] * count
    found = np.zeros(count)
    values = zip(flags, answered.scores.tolist(), high, amounts, strict=True)
    for at, (flagged, value, end, amount) in enumerate(values):
        stake = use.stake(_HoldoutAnswer(flagged, value, end), amount)
        if stake is not None:
            found[at] = use.worth(use.action, stake, float(answered.labels[at]), use.effect)
    return found


def _of_lists(spec: RankingSpec, rows: pl.DataFrame, answered: Answered) -> Euros:
    """Return the shop's margin on what people buy in the order of the scores.

    A row's weight is 1 / attention of its shown position. Times the attention of its new position,
    it has the mean of the purchases in the new order.
    """
    lists = lists_of(answered.entities, answered.times, spec.label.list)
    ranks = np.minimum(rank_in_list(answered.scores, lists), len(ATTENTION))
    bought = answered.labels == BOUGHT
    margins = np.array([gain_euro(price, True, False) for price in rows["price"].to_list()])
    return np.where(bought, margins * ATTENTION[ranks - 1], 0.0)
