"""What the models' decisions were worth, against the same world without the model.

Without a model every payment passes, lists stay in the shop's own order, and chance takes prices.
The world without the other models is in uses.py. Only decisions count. The euros come from the
settlements: the world knows the truth of declined payments, other orders and other prices too.
"""

from __future__ import annotations

from datetime import datetime

import msgspec
import polars as pl

from dojo.core.lake import Lake
from dojo.shop.events import DECISIONS, SETTLEMENTS

_DAY_SECONDS = 86_400.0


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """The worth of one arm's decisions.

    Attributes:
        decided: Number of decisions.
        actions: Action -> number of decisions.
        settled: Number of decisions whose truth is due. `euro` rests on these alone. Of a list it
            is the truth of at least one product.
        euro: Euros gained against the world without the model. Negative for a loss.
        euro_per_day: The same per world day, from the first to the last settled request. None for
            less than a day.
    """

    model: str
    version: str
    arm: str
    decided: int
    actions: dict[str, int]
    settled: int
    euro: float
    euro_per_day: float | None


def value_of_decisions(
    lake: Lake, model: str = "", since: datetime | None = None, until: datetime | None = None
) -> list[Value]:
    """Return the worth of the decisions with since <= world_time < until, by model, version, arm.

    Args:
        lake: The lake.
        model: Only this model's. Empty for all models.
        since: World time of the first decision.
        until: World time after the last decision.
    """
    decisions = lake.scan(DECISIONS, since, until).unique("event_id", keep="any")
    if model:
        decisions = decisions.filter(pl.col("model") == model)
    parts = lake.scan(SETTLEMENTS, since).unique("event_id", keep="any")
    settlements = parts.group_by("model", "request_id").agg(pl.col("value_euro").sum())
    rows = (
        decisions.join(settlements, on=["model", "request_id"], how="left")
        .collect()
        .sort("model", "version", "arm", "world_time")
    )
    return [_value(of) for of in rows.partition_by("model", "version", "arm", maintain_order=True)]


def _value(rows: pl.DataFrame) -> Value:
    settled = rows.drop_nulls("value_euro")
    first, last = settled["world_time"].min(), settled["world_time"].max()
    days = (
        (last - first).total_seconds() / _DAY_SECONDS
        if isinstance(first, datetime) and isinstance(last, datetime)
        else 0.0
    )
    euro = round(float(settled["value_euro"].sum()), 2)
    return Value(
        model=rows["model"][0],
        version=rows["version"][0],
        arm=rows["arm"][0],
        decided=len(rows),
        actions=dict(rows["action"].value_counts().sort("action").iter_rows()),
        settled=len(settled),
        euro=euro,
        euro_per_day=round(euro / days, 2) if days >= 1 else None,
    )
