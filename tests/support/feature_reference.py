"""The catalogue's definitions, row by row in plain Python: slow, obvious, independent of Polars."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import polars as pl

from dojo.core.events.types import Stream
from dojo.shop.events import TRANSACTIONS

DAY = timedelta(days=1)
LABEL_DELAY = timedelta(days=7)


@dataclass(frozen=True)
class Payment:
    """One transaction with its outcome. `arrival` is None when the outcome never came.

    Attributes:
        corrections: Later labels and their arrivals, in order.
    """

    transaction_id: str
    customer_id: str
    merchant_id: str
    time: datetime
    cents: int
    label: int
    arrival: datetime | None
    corrections: tuple[tuple[int, datetime], ...] = ()

    @property
    def amount(self) -> float:
        return self.cents / 100

    @property
    def outcomes(self) -> list[tuple[int, datetime]]:
        return [] if self.arrival is None else [(self.label, self.arrival), *self.corrections]

    def label_at(self, moment: datetime) -> int:
        """The latest label before a moment. There is one."""
        return next(label for label, arrival in reversed(self.outcomes) if arrival < moment)


def transactions_of(payments: Sequence[Payment]) -> pl.DataFrame:
    """Return the transactions in lake columns."""
    return pl.DataFrame(
        [(p.transaction_id, p.customer_id, p.merchant_id, p.time, p.amount) for p in payments],
        schema={
            "transaction_id": pl.String,
            "customer_id": pl.String,
            "merchant_id": pl.String,
            "world_time": pl.Datetime("us", "UTC"),
            "amount": pl.Float64,
        },
        orient="row",
    )


def outcomes_of(payments: Sequence[Payment]) -> pl.DataFrame:
    """Return the outcomes that came, in lake columns, in the order they became known."""
    return pl.DataFrame(
        [
            ("fraud_detection", p.transaction_id, p.time, label, "", 1.0, arrival)
            for p in payments
            for label, arrival in p.outcomes
        ],
        schema={
            "model": pl.String,
            "request_id": pl.String,
            "request_time": pl.Datetime("us", "UTC"),
            "label": pl.Float64,
            "hidden_by": pl.String,
            "weight": pl.Float64,
            "world_time": pl.Datetime("us", "UTC"),
        },
        orient="row",
    ).sort("world_time", maintain_order=True)


def streams_of(payments: Sequence[Payment]) -> dict[str, pl.DataFrame]:
    return {TRANSACTIONS: transactions_of(payments), Stream.OUTCOMES: outcomes_of(payments)}


def customer_at(payments: Sequence[Payment], customer: str, day: date) -> dict[str, float]:
    midnight = datetime.combine(day, time(), UTC)
    own = [p for p in payments if p.customer_id == customer]

    def window(days: int, ended: timedelta = timedelta(0)) -> list[float]:
        return [p.amount for p in own if midnight - ended - days * DAY <= p.time < midnight - ended]

    month = window(30)
    mean = sum(month) / len(month) if month else 0.0
    return {
        **{f"customer_tx_count_{d}d": len(window(d)) for d in (1, 7, 30)},
        **{
            f"customer_amount_mean_{d}d": sum(window(d)) / len(window(d)) if window(d) else 0.0
            for d in (1, 7, 30)
        },
        "customer_amount_std_30d": (
            math.sqrt(sum((a - mean) ** 2 for a in month) / len(month)) if month else 0.0
        ),
        "customer_amount_max_7d": max(window(7), default=0.0),
        "customer_amount_max_30d_settled": max(window(30, LABEL_DELAY), default=0.0),
    }


def merchant_at(payments: Sequence[Payment], merchant: str, day: date) -> dict[str, float]:
    midnight = datetime.combine(day, time(), UTC)
    own = [p for p in payments if p.merchant_id == merchant and p.time < midnight]
    labelled = [
        p
        for p in own
        if p.arrival is not None and p.arrival < midnight and p.time < midnight - LABEL_DELAY
    ]
    positives = sorted({p.time.date() for p in labelled if p.label_at(midnight)})

    def known(days: int) -> list[int]:
        return [
            p.label_at(midnight) for p in labelled if p.time >= midnight - LABEL_DELAY - days * DAY
        ]

    complete = 0.0
    for past in sorted({p.time.date() for p in own}, reverse=True):
        of_day = [p for p in own if p.time.date() == past]
        if all(p in labelled for p in of_day):
            complete = sum(p.label_at(midnight) for p in of_day) / len(of_day)
            break
    begin = None
    for index, fraud in enumerate(positives):
        if index == 0 or (fraud - positives[index - 1]).days > 10:
            begin = fraud
    return {
        **{
            f"merchant_tx_count_{d}d": sum(p.time >= midnight - d * DAY for p in own)
            for d in (1, 7, 30)
        },
        **{
            f"merchant_risk_{d}d": sum(known(d)) / len(known(d)) if known(d) else 0.0
            for d in (1, 7, 30)
        },
        **{f"merchant_fraud_count_{d}d": sum(known(d)) for d in (14, 30)},
        "merchant_last_risk": complete,
        "merchant_fraud_age_days": min((day - positives[-1]).days, 90) if positives else 90,
        "merchant_streak_age_days": min((day - begin).days, 90) if begin else 90,
    }


def activity_at(
    payments: Sequence[Payment], key: str, value: str, moment: datetime
) -> dict[str, float]:
    """Return both streaming views' features by entity prefix, at the transaction at `moment`."""
    own = [p for p in payments if getattr(p, key) == value]

    def window(length: timedelta) -> list[int]:
        return [p.cents for p in own if moment - length < p.time <= moment]

    hour, day = window(timedelta(hours=1)), window(DAY)
    prefix = key.removesuffix("_id")
    state = {
        f"{prefix}_last_tx_time": moment.timestamp(),
        f"{prefix}_last_tx_count_1h": len(hour),
        f"{prefix}_last_amount_1h": sum(hour) / 100,
    }
    if prefix == "customer":
        state |= {
            "customer_last_tx_count_24h": len(day),
            "customer_last_amount_24h": sum(day) / 100,
            "customer_last_amount_max_24h": max(day) / 100,
        }
    return state
