"""A world for tests of monitoring: a trained version, then days of answered payments with outcomes.

The code of the running stack (source, features, training, scoring) makes everything in bulk,
without its servers. The source's seed decides it. The arguments of `live` cause drift. They are
drifts as started by `dojo world drift`, another source, or a change of the scored rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from dojo.core.events.types import Outcome, Prediction, Stream
from dojo.core.lake import Lake
from dojo.core.registry.bundle import MODEL_FILE, PROFILE_FILE, OnnxScorer
from dojo.core.spec.schema import ModelSpec
from dojo.core.tasks.records import Decision
from dojo.core.tasks.specs import load_spec, task_of
from dojo.shop.events import TRANSACTIONS
from dojo.shop.world_drift import ActiveDrift
from feature_repo import catalog
from feature_repo.views import PUBLISH_DELAY
from pipelines.features.offline import offline_file
from pipelines.training import steps
from pipelines.training.dataset.build import join_features
from pipelines.training.dataset.collect import WARM_UP
from pipelines.training.steps import Run
from services.simulator.days import WorldDays, arrival_column, start_of
from services.simulator.events import event_history, outcome_history
from services.simulator.sources.source import Source
from services.simulator.sources.synthetic import SyntheticSource

SPEC = Path(__file__).parents[2] / "models" / "fraud_detection.yaml"
SEED = 7
LIVE_FROM = date(2025, 1, 6)  # a Monday

# Days of payments before the first example, for features that look back.
WARM_UP_DAYS = 32

# A change of the rows between features and scoring, such as lost stored values or another unit. The
# columns are as in `Live.rows` without score.
Change = Callable[[pl.DataFrame], pl.DataFrame]


@dataclass(frozen=True)
class TrainedWorld:
    """A version, and all events before it went live at midnight of `live_from`."""

    spec: ModelSpec
    directory: Path
    live_from: date
    source: Source
    first: date
    days: WorldDays
    transactions: pl.DataFrame
    outcomes: pl.DataFrame
    decision: Decision
    scorer: OnnxScorer

    @property
    def profile_file(self) -> Path:
        return self.directory / PROFILE_FILE

    @property
    def features(self) -> tuple[str, ...]:
        return catalog.SERVICES[self.spec.feature_service].features


@dataclass(frozen=True)
class Live:
    """Answered payments from midnight of the world's `live_from` on.

    Attributes:
        world: The trained world.
        rows: One row per payment, in order of time. The keys are transaction_id, customer_id,
            merchant_id and event_timestamp. Then come amount, label and arrival (of the label).
            Stored values, features (Float32), score (Float64) and flagged follow.
        labels: Labels that become known on these days, of earlier payments too. The columns are
            transaction_id, time (of the payment), label, arrival.
        stopped: When batch features were published for the last time. None while they still are.
        version: The version that answers.
    """

    world: TrainedWorld
    rows: pl.DataFrame
    labels: pl.DataFrame
    stopped: datetime | None = None
    version: str = "1"

    def predictions(self, start: datetime, end: datetime) -> Iterator[Prediction]:
        """Yield the answers of start <= world time < end, as the gateway logs them."""
        rows = self.rows.filter(pl.col("event_timestamp").is_between(start, end, closed="left"))
        names, views = self.world.features, catalog.views_of(self.world.spec.feature_service)
        vectors = rows.select(pl.col(names).cast(pl.Float64)).to_numpy().tolist()
        ages = [view_ages(rows, view, self.stopped) for view in views]
        fixed = rows.select(
            "transaction_id", "customer_id", "merchant_id", "event_timestamp", "score", "flagged"
        )
        for at, (request, customer, merchant, time, score, flagged) in enumerate(fixed.iter_rows()):
            yield Prediction(
                event_id=Prediction.id_for(request),
                world_time=time,
                wall_time=time,
                prediction_id=request,
                request_id=request,
                model=self.world.spec.name,
                version=self.version,
                arm="champion",
                entity_keys={"customer": customer, "merchant": merchant},
                features=dict(zip(names, vectors[at], strict=True)),
                feature_age_seconds={view.name: ages[i][at] for i, view in enumerate(views)},
                score=score,
                flagged=flagged,
                latency_seconds=0.002,
                route_generation=1,
            )

    def outcomes(self, start: datetime, end: datetime) -> Iterator[Outcome]:
        """Yield the labels that arrive at start <= world time < end, in order of arrival."""
        rows = self.labels.filter(pl.col("arrival").is_between(start, end, closed="left")).sort(
            "arrival", "request_id"
        )
        for request, time, arrival, label in rows.select(
            "request_id", "time", "arrival", "label"
        ).iter_rows():
            model = self.world.spec.name
            yield Outcome(
                event_id=Outcome.id_for(model, request),
                world_time=arrival,
                wall_time=arrival,
                model=model,
                request_id=request,
                request_time=time,
                label=label,
            )


def quiet_source(customers: int = 5000, merchants: int = 5000, seed: int = SEED) -> SyntheticSource:
    """Return the synthetic town with fraudsters that never change their methods."""
    return SyntheticSource(seed=seed, customers=customers, merchants=merchants, fraud_rate=0.015)


def train(
    directory: Path,
    source: Source,
    live_from: date = LIVE_FROM,
    training_days: int | None = None,
    spec: ModelSpec | None = None,
    trees: int | None = None,
) -> TrainedWorld:
    """Train a version at midnight of `live_from`, as `dojo train` does.

    Args:
        directory: Directory of the run.
        source: The world's source.
        live_from: First live day.
        training_days: Length of the training window. The spec's by default.
        spec: The fraud model's by default.
        trees: Number of trees. The spec's by default.
    """
    spec = spec or load_spec(SPEC)
    if trees is not None:
        parameters = {**spec.training.estimator.parameters, "n_estimators": trees}
        estimator = spec.training.estimator.model_copy(update={"parameters": parameters})
        training = spec.training.model_copy(update={"estimator": estimator})
        spec = spec.model_copy(update={"training": training})
    if training_days is not None:
        training = spec.training.model_copy(
            update={"window": timedelta(days=training_days), "minimum_rows": 1000}
        )
        spec = spec.model_copy(update={"training": training})
    window = spec.training.window.days + spec.label.delay.maximum.days
    first = live_from - timedelta(days=window + WARM_UP_DAYS)
    days = WorldDays(source, {spec.name: spec.label}, SEED, first)
    transactions, outcomes = _history(days, first, live_from)
    lake = Lake(directory / "lake")
    lake.write(TRANSACTIONS, transactions, "history")
    lake.write(Stream.OUTCOMES, outcomes, "history")
    run = Run(lake, spec, directory)
    steps.collect_step(run, start_of(live_from))
    steps.build_dataset_step(run, champion=None)
    steps.train_step(run)
    steps.evaluate_step(run)
    return TrainedWorld(
        spec=spec,
        directory=directory,
        live_from=live_from,
        source=source,
        first=first,
        days=days,
        transactions=transactions,
        outcomes=outcomes,
        decision=steps.read_evaluation(directory).decision,
        scorer=OnnxScorer(directory / MODEL_FILE),
    )


def live(
    world: TrainedWorld,
    days: int,
    directory: Path,
    source: Source | None = None,
    change: Change | None = None,
    drifts: Iterable[ActiveDrift] = (),
) -> Live:
    """Return the first `days` live days.

    Args:
        world: The trained world.
        days: Number of days.
        directory: Directory for feature files, one per call.
        source: Makes the days. By default the world's own. Another one should agree with it until
            `live_from`.
        change: Change of the scored rows.
        drifts: Drifts with final bounds, none before `live_from`.
    """
    spec, first, drifts = world.spec, world.live_from, tuple(drifts)
    lived = WorldDays(source or world.source, {spec.name: spec.label}, SEED, world.first, drifts)
    span = [first + timedelta(days=offset) for offset in range(days)]
    made, labels = [], []
    for day in span:
        made.append(lived.events(TRANSACTIONS, day))
        labels.append(lived.outcomes(day))
    known = pl.concat(labels)
    transactions = pl.concat(
        [world.transactions, *(event_history(TRANSACTIONS, rows) for rows in made)]
    )
    outcomes = pl.concat([world.outcomes, outcome_history(known)])
    truth = pl.concat(made).select("transaction_id", "label", arrival=arrival_column(spec.name))
    examples = (
        transactions.filter(pl.col("world_time") >= start_of(first))
        .join(truth, on="transaction_id")
        .rename({"world_time": "event_timestamp"})
        .select(
            "transaction_id",
            "customer_id",
            "merchant_id",
            "event_timestamp",
            "amount",
            "label",
            "arrival",
        )
        .sort("event_timestamp", "transaction_id")
    )
    within_reach = pl.col("world_time") >= start_of(first) - WARM_UP
    streams = {
        TRANSACTIONS: transactions.filter(within_reach),
        Stream.OUTCOMES: outcomes.filter(within_reach),
    }
    joined = join_features(
        streams, examples.rename({"transaction_id": "request_id"}), spec.feature_service, directory
    )
    rows = joined.rename({"request_id": "transaction_id"})
    stopped = next(
        (_last_published(drift.started) for drift in drifts if drift.kind == "stale_features"), None
    )
    if stopped is not None:
        rows = _without_materialization(rows, spec.feature_service, directory, stopped)
    rows = change(rows) if change is not None else rows
    inputs = np.ascontiguousarray(rows.select(world.features).to_numpy(), dtype=np.float32)
    scores = world.scorer.score(inputs).astype(np.float64)
    rows = rows.with_columns(
        pl.Series("score", scores),
        pl.Series("flagged", task_of(spec).flagged(scores, world.decision)),
    )
    return Live(world, rows, known, stopped)


def view_ages(
    rows: pl.DataFrame, view: catalog.View, stopped: datetime | None = None
) -> list[float | None]:
    """Return world seconds since the view's values became true.

    None where the store has no row. A row of zeros looks the same as a missing one.
    """
    stored = [feature.name for feature in view.features if feature.name in rows.columns]
    time = pl.col("event_timestamp")
    if view.kind == "streaming":
        last = pl.col(next(name for name in stored if name in catalog.MOMENTS))
        age = time.dt.epoch("us") / 1_000_000 - last
        return rows.select(pl.when(last > 0).then(age)).to_series().to_list()
    delay = PUBLISH_DELAY
    published = (time - delay).dt.truncate("1d") + delay
    published = published if stopped is None else pl.min_horizontal(published, pl.lit(stopped))
    known = pl.any_horizontal(pl.col(name) > 0 for name in stored)
    return (
        rows.select(pl.when(known).then((time - published).dt.total_microseconds() / 1e6))
        .to_series()
        .to_list()
    )


def _last_published(moment: datetime) -> datetime:
    """Return the time of the last publication of batch features before a moment."""
    return start_of((moment - PUBLISH_DELAY).date()) + PUBLISH_DELAY


def _without_materialization(
    rows: pl.DataFrame, service: str, directory: Path, stopped: datetime
) -> pl.DataFrame:
    """Return the rows as the online store answers when publication ends at `stopped`.

    It keeps batch values for good.
    """
    late = rows["event_timestamp"] >= stopped + timedelta(days=1)
    before, after = rows.filter(~late), rows.filter(late)
    for view in (view for view in catalog.views_of(service) if view.kind == "batch"):
        key, names = catalog.ENTITY_KEYS[view.entity], [feature.name for feature in view.features]
        kept = pl.read_parquet(
            offline_file(directory / "offline", view.name, stopped.date())
        ).select(key, *names)
        after = (
            after.drop(names)
            .join(kept, on=key, how="left", maintain_order="left")
            .with_columns(pl.col(names).fill_null(0.0))
        )
    inputs = after.with_columns(
        (pl.col("event_timestamp").dt.epoch("us") / 1_000_000).alias("transaction_time")
    )
    request = catalog.SERVICES[service].request
    computed = request.compute(
        {name: inputs[name].cast(pl.Float64).to_numpy() for name in request.needed}, choose=np.where
    )
    after = after.with_columns(
        pl.Series(name, column) for name, column in computed.items() if name in rows.columns
    )
    return pl.concat([before, after.select(rows.columns).cast(rows.schema)])


def _history(days: WorldDays, first: date, end: date) -> tuple[pl.DataFrame, pl.DataFrame]:
    span = [first + timedelta(days=offset) for offset in range((end - first).days)]
    transactions, outcomes = [], []
    for day in span:
        transactions.append(event_history(TRANSACTIONS, days.events(TRANSACTIONS, day)))
        outcomes.append(outcome_history(days.outcomes(day)))
    return pl.concat(transactions), pl.concat(outcomes)
