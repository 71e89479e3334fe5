"""The positions at which the shop showed products, and the labels that follow from them.

The model's ranks are the positions. Without an answer a list stays in the shop's own order. The
event log and the lake are the record. A process that starts reads them, so a repeated batch is
shown as before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import cast

import polars as pl

from dojo.core.events.log import RedisEventLog
from dojo.core.lake import Lake
from dojo.core.spec.schema import Label
from dojo.shop.events import SHOP_EVENTS, Listed
from dojo.shop.lists import weight
from services.simulator.gateway_client import LIST, GatewayReply
from services.simulator.logged import logged

_DAY = timedelta(days=1)


class Shown:
    """The position of every product whose labels are not due yet.

    Args:
        labels: Model -> what its labels say.
    """

    def __init__(self, labels: Mapping[str, Label]) -> None:
        self._orders: dict[str, str] = {}  # stream of lists -> the model that orders them
        self._memory = _DAY
        for model, label in labels.items():
            if issubclass(SHOP_EVENTS[label.event], Listed):
                self._orders.setdefault(label.event, model)
                self._memory = max(self._memory, label.delay.maximum + _DAY)
        self._known: dict[date, dict[str, int]] = {}  # day -> product in a list -> position

    def recall(self, lake: Lake, event_log: RedisEventLog, until: datetime) -> None:
        """Read the positions of the past.

        Args:
            until: The present, world time.

        Raises:
            redis.RedisError: The log is out of reach.
        """
        since = until - self._memory
        for stream in self._orders:
            key = SHOP_EVENTS[stream].key
            columns = "world_time", key, "position"
            for time, request_id, position in (
                lake.scan(stream, since).select(columns).collect().iter_rows()
            ):
                self._remember(time.date(), request_id, position)
            for event in logged(event_log, stream):
                one = cast("Listed", event)
                if one.world_time >= since:
                    self._remember(one.world_time.date(), getattr(one, key), one.position)

    def _remember(self, day: date, request_id: str, position: int) -> None:
        if day not in self._known:
            self._known[day] = {}
            for old in [other for other in self._known if other < day - self._memory]:
                del self._known[old]
        self._known[day].setdefault(request_id, position)

    def arranged(
        self, events: Mapping[str, pl.DataFrame], replies: Iterable[GatewayReply]
    ) -> dict[str, pl.DataFrame]:
        """Return a batch's events, with lists in the order of the answers about them.

        Args:
            events: Stream -> rows.
            replies: The answers about them.
        """
        ranks: dict[tuple[str, int], int] = {
            (reply.model, reply.row): reply.prediction.rank
            for reply in replies
            if reply.prediction is not None and reply.prediction.rank is not None
        }
        found = dict(events)
        for stream, model in self._orders.items():
            if stream in events and events[stream].height:
                found[stream] = self._positioned(stream, events[stream], model, ranks)
        return found

    def _positioned(
        self, stream: str, rows: pl.DataFrame, model: str, ranks: Mapping[tuple[str, int], int]
    ) -> pl.DataFrame:
        answers = [ranks.get((model, at)) for at in range(rows.height)]
        asked = rows.with_columns(answer=pl.Series(answers, dtype=pl.Int8))
        whole = pl.col("answer").is_not_null().all().over(LIST)
        order = pl.when(whole).then("answer").otherwise("position").alias("position")
        shown = []
        for time, request_id, position in asked.select(
            "time", SHOP_EVENTS[stream].key, order
        ).iter_rows():
            self._remember(time.date(), request_id, position)
            shown.append(self._known[time.date()][request_id])
        return rows.with_columns(pl.Series("position", shown, dtype=rows.schema["position"]))

    def due(self, outcomes: pl.DataFrame) -> pl.DataFrame:
        """Return labels that become known, as they follow from the positions.

        Args:
            outcomes: Rows of WorldDays.outcomes.

        Returns:
            The rows, without those of products that were never shown.
        """
        if not self._orders or not outcomes["seen_until"].count():
            return outcomes
        places = [
            self._known.get(time.date(), {}).get(request_id)
            for time, request_id in outcomes.select("time", "request_id").iter_rows()
        ]
        placed = outcomes.with_columns(place=pl.Series(places, dtype=pl.Int8))
        in_list, seen = pl.col("seen_until").is_not_null(), pl.col("place") <= pl.col("seen_until")
        return (
            placed.filter(~in_list | pl.col("place").is_not_null())
            .with_columns(
                label=pl.when(in_list)
                .then(pl.when(seen).then("grade").otherwise(0).cast(pl.Float64))
                .otherwise("label"),
                weight=pl.when(in_list).then(weight(pl.col("place"))).otherwise("weight"),
            )
            .drop("place")
        )
