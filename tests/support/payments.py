"""A small synthetic shop for tests of training: payments with learnable fraud, in lake columns."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from dojo.core.events.types import Stream
from dojo.core.lake import Lake
from dojo.core.spec.schema import ModelSpec
from dojo.core.tasks.specs import load_spec
from dojo.shop.events import TRANSACTIONS

START = datetime(2030, 1, 1, tzinfo=UTC)
LABEL_DELAY = timedelta(days=7)

# The model of the payments' labels, by default.
MODEL = "fraud_detection"


def payments(
    days: int, per_day: int = 120, fraud_rate: float = 0.05, seed: int = 1, start: datetime = START
) -> pl.DataFrame:
    """Return columns transaction_id, customer_id, merchant_id, time, amount, label.

    Fraud is expensive and happens at few merchants.
    """
    random = np.random.default_rng(seed)
    rows = days * per_day
    label = (random.random(rows) < fraud_rate).astype(np.int8)
    merchant = np.where(
        label & (random.random(rows) < 0.7),
        random.integers(0, 4, rows),
        random.integers(0, 40, rows),
    )
    seconds = np.sort(random.integers(0, days * 86400, rows)) * 1_000_000 + np.arange(
        rows
    )  # distinct times
    return pl.DataFrame(
        {
            "transaction_id": [f"t{i:06d}" for i in range(rows)],
            "customer_id": [f"c{i}" for i in random.integers(0, 60, rows)],
            "merchant_id": [f"m{i}" for i in merchant],
            "time": start + pl.Series(seconds).cast(pl.Duration("us")),
            "amount": np.round(random.lognormal(3, 0.6, rows) * np.where(label, 4, 1), 2),
            "label": label,
        },
        schema_overrides={"time": pl.Datetime("us", "UTC"), "label": pl.Int8},
    )


def transactions_of(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the lake's transactions, without columns that only the lake adds."""
    return rows.select(
        "transaction_id", "customer_id", "merchant_id", pl.col("time").alias("world_time"), "amount"
    )


def outcomes_of(
    rows: pl.DataFrame, model: str = MODEL, delay: timedelta = timedelta(days=2)
) -> pl.DataFrame:
    """Return the lake's outcomes for a model, each `delay` after its payment."""
    return rows.select(
        pl.lit(model).alias("model"),
        pl.col("transaction_id").alias("request_id"),
        pl.col("time").alias("request_time"),
        pl.col("label").cast(pl.Float64),
        pl.lit("").alias("hidden_by"),
        pl.lit(1.0).alias("weight"),
        (pl.col("time") + delay).alias("world_time"),
    )


def fill_lake(
    root: Path,
    rows: pl.DataFrame,
    as_of: datetime,
    models: Sequence[str] = (),
    delay: timedelta = timedelta(days=2),
) -> Lake:
    """Return a lake as of `as_of`: payments before it, and the outcomes that had arrived.

    Args:
        root: Directory of the lake.
        rows: The payments.
        as_of: World time.
        models: Further models with outcomes. Features are computed from MODEL's.
        delay: Delay of the labels.
    """
    lake = Lake(root)
    known = rows.filter(pl.col("time") < as_of)
    lake.write(TRANSACTIONS, _as_events(transactions_of(known), "transaction_id"), "history")
    for model in (MODEL, *models):
        label(lake, known, as_of, model, delay)
    return lake


def label(
    lake: Lake,
    rows: pl.DataFrame,
    as_of: datetime,
    model: str,
    delay: timedelta = timedelta(days=2),
) -> None:
    """Add a model's outcomes of payments that had arrived at `as_of`."""
    arrived = outcomes_of(rows, model, delay).filter(pl.col("world_time") < as_of)
    lake.write(Stream.OUTCOMES, _as_events(arrived, "request_id"), f"history-{model}")


def small_spec(name: str, models: Path = Path("models")) -> ModelSpec:
    """Return the fraud model's contract under another name, for a few weeks of a small shop."""
    spec = load_spec(models / "fraud_detection.yaml")
    training = spec.training.model_copy(
        update={
            "window": timedelta(days=24),
            "validation": timedelta(days=4),
            "holdout": timedelta(days=6),
            "minimum_rows": 1000,
            "label_rate": (0.01, 0.2),
            # The sixty customers are all alike, and their histories are still filling.
            "checks": spec.training.checks.model_copy(update={"feature_psi": 2.0}),
            "estimator": spec.training.estimator.model_copy(
                update={
                    "parameters": {**spec.training.estimator.parameters, "n_estimators": 40},
                    "early_stopping_rounds": 10,
                }
            ),
        }
    )
    return spec.model_copy(update={"name": name, "training": training})


def with_checks(spec: ModelSpec, **bounds: object) -> ModelSpec:
    """Return the spec with other bounds in `training.checks`."""
    training = spec.training.model_copy(
        update={"checks": spec.training.checks.model_copy(update=bounds)}
    )
    return spec.model_copy(update={"training": training})


def _as_events(rows: pl.DataFrame, key: str) -> pl.DataFrame:
    return rows.with_columns(
        (
            pl.lit("event-")
            + pl.col("model" if "model" in rows.columns else key)
            + "-"
            + pl.col(key)
        ).alias("event_id"),
        pl.lit(datetime(2031, 1, 1, tzinfo=UTC)).alias("wall_time"),
    )
