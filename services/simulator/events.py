"""A day's rows as events: structs for the streams, frames for the lake.

The same fact has the same id in both.
"""

from __future__ import annotations

from datetime import datetime

import polars as pl

from dojo.core.events.types import Outcome, Transaction


def transaction_events(rows: pl.DataFrame, wall_time: datetime) -> list[Transaction]:
    """Rows of WorldDays.transactions as events."""
    return [
        Transaction(
            event_id=Transaction.id_for(transaction_id),
            world_time=time,
            wall_time=wall_time,
            transaction_id=transaction_id,
            customer_id=customer_id,
            merchant_id=merchant_id,
            amount=amount,
        )
        for transaction_id, customer_id, merchant_id, time, amount in rows.select(
            "transaction_id", "customer_id", "merchant_id", "time", "amount"
        ).iter_rows()
    ]


def outcome_events(rows: pl.DataFrame, wall_time: datetime) -> list[Outcome]:
    """Rows of WorldDays.outcomes as events."""
    return [
        Outcome(
            event_id=Outcome.id_for(model, transaction_id),
            world_time=arrival,
            wall_time=wall_time,
            model=model,
            request_id=transaction_id,
            request_time=time,
            label=label,
        )
        for model, transaction_id, time, label, arrival in rows.select(
            "model", "transaction_id", "time", "label", "arrival"
        ).iter_rows()
    ]


def transaction_history(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of WorldDays.transactions for the lake.

    History was not written down as it happened, so its wall time is its world time. This also makes
    a rebuilt file equal to the first one, byte for byte.
    """
    return rows.select(
        (Transaction.id_for("") + pl.col("transaction_id")).alias("event_id"),
        pl.col("time").alias("world_time"),
        pl.col("time").alias("wall_time"),
        *("transaction_id", "customer_id", "merchant_id", "amount"),
    )


def outcome_history(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of WorldDays.outcomes for the lake. Wall time as in `transaction_history`."""
    return rows.select(
        pl.format(Outcome.id_for("{}", "{}"), "model", "transaction_id").alias("event_id"),
        pl.col("arrival").alias("world_time"),
        pl.col("arrival").alias("wall_time"),
        "model",
        pl.col("transaction_id").alias("request_id"),
        pl.col("time").alias("request_time"),
        "label",
    )
