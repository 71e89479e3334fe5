"""The platform's features and training under the public book's protocol, on any transactions."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from time import monotonic

import msgspec
import numpy as np
import polars as pl

from dojo.core.events.types import Stream
from dojo.core.spec.schema import ModelSpec
from dojo.shop.events import TRANSACTIONS
from dojo.stats.scores.classification import entity_precision_at_k, pr_auc, roc_auc
from feature_repo import catalog
from pipelines.backtest.protocol import (
    Period,
    judged_transactions,
    require_both_classes,
    require_covered,
    training_transactions,
)
from pipelines.training.dataset.build import Progress, join_features
from pipelines.training.dataset.split import part
from pipelines.training.steps import silent
from pipelines.training.train import fit

CARDS_A_DAY = 100  # the book's investigators check 100 cards a day


class Backtest(msgspec.Struct, frozen=True, kw_only=True):
    """One protocol run. Metrics are fractions, `seconds` is wall time."""

    train_start: str
    train_days: int
    delay_days: int
    test_days: int
    train_rows: int
    train_positives: int
    test_rows: int
    test_positives: int
    pr_auc: float
    roc_auc: float
    card_precision_at_100: float
    trees: int
    seconds: float


def backtest(
    transactions: pl.DataFrame,
    spec: ModelSpec,
    period: Period,
    workspace: Path,
    progress: Progress = silent,
) -> Backtest:
    """Train on the period's training days, test on its test days.

    Features see everything in the file before each payment. They see labels `delay_days` after
    their payment, and not earlier than the features' definition says
    (feature_repo/shop/payments.py). All the spec's trees are used. A week of training cannot spare
    a part to stop on, and the test days must not decide.

    Args:
        transactions: As from `dojo.shop.datasets.read_transactions`.
        spec: The model's spec.
        period: The protocol's days.
        workspace: An empty directory for the run's files.
        progress: Called before each step.

    Raises:
        ProtocolError: The file does not cover the period, or a part holds one class only.
    """
    begun = monotonic()
    require_covered(transactions, period)
    train, test = (
        training_transactions(transactions, period),
        judged_transactions(transactions, period),
    )
    require_both_classes(train, "training", period.start, period.train_end)
    require_both_classes(test, "test", period.test_start, period.test_end)

    known = transactions.filter(pl.col("time") < _midnight(period.test_end)).rename(
        {"time": "world_time"}
    )
    outcomes = known.select(
        pl.lit(spec.name).alias("model"),
        pl.col("transaction_id").alias("request_id"),
        pl.col("world_time").alias("request_time"),
        "label",
        pl.col("world_time") + timedelta(days=period.delay_days),
    )
    examples = pl.concat([train, test.drop("test_day")]).rename({"time": "event_timestamp"})
    streams = {TRANSACTIONS: known.drop("label"), Stream.OUTCOMES: outcomes}
    rows = join_features(
        streams,
        examples.rename({"transaction_id": "request_id"}),
        spec.feature_service,
        workspace,
        progress,
    )

    progress("train", 0.0)
    features = catalog.SERVICES[spec.feature_service].features
    learned = part(
        "train", rows, features, spec, _midnight(period.start), _midnight(period.train_end)
    )
    judged = part(
        "test", rows, features, spec, _midnight(period.test_start), _midnight(period.test_end)
    )
    fitted = fit(learned, None, spec)
    scores = fitted.score(judged.inputs)
    in_order = test.sort("time", "transaction_id")  # the order of `judged`
    return Backtest(
        train_start=period.start.isoformat(),
        train_days=period.train_days,
        delay_days=period.delay_days,
        test_days=period.test_days,
        train_rows=len(learned.labels),
        train_positives=int(learned.labels.sum()),
        test_rows=len(judged.labels),
        test_positives=int(judged.labels.sum()),
        pr_auc=pr_auc(judged.labels, scores),
        roc_auc=roc_auc(judged.labels, scores),
        card_precision_at_100=entity_precision_at_k(
            judged.labels,
            scores,
            in_order["customer_id"].to_numpy().astype(np.str_),
            in_order["test_day"].to_numpy(),
            CARDS_A_DAY,
        ),
        trees=fitted.trees,
        seconds=round(monotonic() - begun, 1),
    )


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
