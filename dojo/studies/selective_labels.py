"""What a fraud model learns once the shop declines what it flags.

Half a year of a small town, week by week, with the world's and the pipelines' own functions:

    1. train on the labels that are known
    2. score the next week's payments, and decline what is flagged
    3. hide the labels of declined payments, for good

Four shops live through the same payments. One releases no flagged payment, two release some, and
one is told every label, also of what it declined. The last one is impossible outside a simulation.

In the eleventh week the fraudsters change their method.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import polars as pl

from dojo.core.events.types import Stream
from dojo.core.spec.schema import ModelSpec
from dojo.core.tasks.binary.metrics import flagged_share
from dojo.core.tasks.records import Answered
from dojo.core.tasks.specs import task_of
from dojo.shop.decisions import STOPPED, Policy, value_euro
from dojo.shop.events import TRANSACTIONS
from dojo.stats.scores.classification import pr_auc
from dojo.studies.results import Week
from feature_repo import catalog
from pipelines.training.dataset.build import join_features, label_examples
from pipelines.training.dataset.split import Part, part
from pipelines.training.train import fit
from services.simulator.labels import label_delays
from services.simulator.sources.synthetic import SyntheticSource
from services.simulator.town.chance import keys, uniform

SEED = 7
CUSTOMERS = 800  # 1,600 payments a day, and 24 frauds
WEEKS = 26
BEGIN = date(2024, 9, 2)  # a Monday
SHIFT = BEGIN + timedelta(weeks=10)  # the fraudsters' new method
TRAINING_DAYS = 42  # 67,000 payments, and 1,000 frauds while their labels are complete
HISTORY_DAYS = 56  # before BEGIN: training, the longest label delay, and features' history

_WEEK = timedelta(weeks=1)


@dataclass(frozen=True, slots=True)
class Shop:
    """One of the compared shops. `told_everything`: labels of declined payments are known too."""

    release_share: float
    told_everything: bool = False


SHOPS = {
    "releases_nothing": Shop(0.0),
    "releases_5_percent": Shop(0.05),
    "releases_20_percent": Shop(0.20),
    "told_everything": Shop(0.0, told_everything=True),
}


class SelectiveLabels:
    """One shop's half year. Each step is a week, and `outcomes` is all that it leaves behind.

    Args:
        shop: What the shop does.
        spec: The model. Its window is shortened to TRAINING_DAYS.
        customers: Size of the town.
    """

    def __init__(self, shop: Shop, spec: ModelSpec, customers: int = CUSTOMERS) -> None:
        self._shop, self._spec = shop, spec
        self._policy = Policy("decline", 0, shop.release_share)
        self._source = SyntheticSource(SEED, customers, customers, 0.015, shift=SHIFT)
        first = BEGIN - timedelta(days=HISTORY_DAYS)
        self._days: dict[date, pl.DataFrame] = {}
        self.outcomes = _outcomes(self._payments(first, BEGIN), self._spec)

    def _payments(self, start: date, end: date) -> pl.DataFrame:
        days = [start + timedelta(days=n) for n in range((end - start).days)]
        for day in days:
            if day not in self._days:
                self._days[day] = self._source.day(day)
        return pl.concat([self._days[day] for day in days])

    def live(self, week: int) -> Week:
        """Train, live one week, and add what becomes known of it to `outcomes`."""
        start = BEGIN + week * _WEEK
        learnt_until = start - self._spec.label.delay.maximum
        learnt_from = learnt_until - timedelta(days=TRAINING_DAYS)
        past = self._payments(max(learnt_from, BEGIN - timedelta(days=HISTORY_DAYS)), start)
        now = self._payments(start, start + _WEEK)
        service = self._spec.feature_service
        requests = pl.concat([past, now]).rename({"time": "world_time"})
        known = self.outcomes.filter(pl.col("world_time") < _midnight(start))
        truth = _outcomes(now, self._spec)
        examples = pl.concat(
            [
                label_examples(
                    requests, known, service, _midnight(learnt_from), _midnight(learnt_until)
                ),
                label_examples(
                    requests, truth, service, _midnight(start), _midnight(start + _WEEK)
                ),
            ]
        )
        streams = {TRANSACTIONS: requests.drop("label"), Stream.OUTCOMES: self.outcomes}
        with TemporaryDirectory() as directory:
            rows = join_features(streams, examples, service, Path(directory))
        features = catalog.SERVICES[service].features
        chosen_from = learnt_until - self._spec.training.validation
        task = task_of(self._spec)

        def of(name: str, begin: date, end: date) -> Part:
            return part(name, rows, features, self._spec, _midnight(begin), _midnight(end))

        validation = of("validation", chosen_from, learnt_until)
        fitted = fit(of("train", learnt_from, chosen_from), validation, self._spec)
        decision = task.decide(validation.answered(fitted.score(validation.inputs)))
        lived = of("week", start, start + _WEEK)
        scores = fitted.score(lived.inputs)
        flagged = task.flagged(scores, decision)
        assert flagged is not None
        return self._decided(week, now.sort("time", "transaction_id"), scores, flagged, truth)

    def _decided(
        self,
        week: int,
        payments: pl.DataFrame,
        scores: npt.NDArray[np.float64],
        flagged: npt.NDArray[np.bool_],
        truth: pl.DataFrame,
    ) -> Week:
        """Act on a week's flags, and hide the labels of failed payments."""
        ids, labels = payments["transaction_id"], payments["label"].to_numpy()
        chance = uniform(keys(ids, SEED, "release"))
        euro, hidden, weights = 0.0, np.zeros(len(ids), bool), np.ones(len(ids))
        for at in np.flatnonzero(flagged):
            action = self._policy.action(labels[at] == 1, 0, float(chance[at]), 1.0)
            euro += value_euro(action, labels[at] == 1, payments["amount"][int(at)])
            hidden[at] = action in STOPPED and not self._shop.told_everything
            if action == "released":
                weights[at] = 1 / self._shop.release_share
        of_week = pl.DataFrame({"request_id": ids, "hides": hidden, "each": weights})
        known = (
            truth.join(of_week, on="request_id", how="left", maintain_order="left")
            .with_columns(
                label=pl.when("hides").then(None).otherwise("label"), weight=pl.col("each")
            )
            .drop("hides", "each")
        )
        self.outcomes = pl.concat([self.outcomes, known])
        seen = Answered(labels.astype(np.float64), scores, flagged, weights=weights).of(~hidden)
        frauds = seen.of(seen.labels == 1)
        both = 0 < seen.labels.sum() < len(seen.labels)
        return Week(
            week=week,
            flagged=int(flagged.sum()),
            frauds=int(labels.sum()),
            believed_catch=flagged_share(frauds) if len(frauds.labels) else 0.0,
            true_catch=float(flagged[labels == 1].mean()),
            believed_pr_auc=pr_auc(seen.labels, seen.scores, seen.each) if both else None,
            true_pr_auc=pr_auc(labels, scores),
            false_positives=float(flagged[labels == 0].mean()),
            euro_per_day=euro / 7,
        )


def _outcomes(payments: pl.DataFrame, spec: ModelSpec) -> pl.DataFrame:
    """Return the labels of payments as if every payment passed."""
    arrival = payments["time"] + label_delays(payments["transaction_id"], spec.label.delay, SEED)
    return payments.select(
        pl.lit(spec.name).alias("model"),
        pl.col("transaction_id").alias("request_id"),
        pl.col("time").alias("request_time"),
        pl.col("label").cast(pl.Float64),
        pl.lit(1.0).alias("weight"),
        arrival.alias("world_time"),
    )


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
