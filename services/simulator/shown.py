"""What the answers decide in lists and offers, and the labels that follow from it.

A ranking's ranks are the positions of products. A demand decides which price of a product is
offered. Without an answer, the shop's own order and chance decide. The event log and the lake are
the record. A process that starts reads them, so a repeated batch is decided as before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta

import polars as pl

from dojo.core.events.log import RedisEventLog
from dojo.core.events.types import Event, Outcome
from dojo.core.lake import Lake
from dojo.core.spec.schema import Label
from dojo.shop.events import SHOP_EVENTS, Listed
from dojo.shop.lists import weight
from dojo.shop.prices import best_price
from services.simulator.gateway_client import LIST, GatewayAnswer, GatewayReply, lists_of
from services.simulator.logged import logged

_DAY = timedelta(days=1)

# The version in an answer without any model. Its ranks keep the shop's order, but its demand is the
# same at every price.
NO_VERSION = "0"

# Why a considered price has no label.
NOT_OFFERED = "not_offered"

# Model and row -> the answer.
Answers = Mapping[tuple[str, int], GatewayAnswer]


class Shown:
    """What was shown and offered, of all events whose labels are not due yet.

    Args:
        labels: Model -> what its labels say.
    """

    def __init__(self, labels: Mapping[str, Label]) -> None:
        self._decides: dict[str, str] = {}  # stream -> the model that decides about it
        self._memory = _DAY
        for model, label in labels.items():
            event = SHOP_EVENTS[label.event]
            if event.chosen or issubclass(event, Listed):
                self._decides.setdefault(label.event, model)
                self._memory = max(self._memory, label.delay.maximum + _DAY)
        # Day -> event -> position. An offer's is 1.
        self._known: dict[date, dict[str, int]] = {}

    def recall(self, lake: Lake, event_log: RedisEventLog, until: datetime) -> None:
        """Read what was shown and offered in the past.

        Args:
            until: The present, world time.

        Raises:
            redis.RedisError: The log is out of reach.
        """
        since = until - self._memory
        for stream in self._decides:
            event = SHOP_EVENTS[stream]
            position = pl.lit(1) if event.chosen else pl.col("position")
            rows = lake.scan(stream, since).select("world_time", event.key, position).collect()
            for time, request_id, place in rows.iter_rows():
                self._remember(time.date(), request_id, place)
            for one in logged(event_log, stream):
                if one.world_time >= since:
                    place = getattr(one, "position", 1)
                    self._remember(one.world_time.date(), getattr(one, event.key), place)

    def _remember(self, day: date, request_id: str, position: int) -> int:
        """Remember a position where none is known. Return the known one."""
        if day not in self._known:
            self._known[day] = {}
            for old in [other for other in self._known if other < day - self._memory]:
                del self._known[old]
        return self._known[day].setdefault(request_id, position)

    def decided(
        self, events: Mapping[str, pl.DataFrame], replies: Iterable[GatewayReply], wall: datetime
    ) -> tuple[dict[str, pl.DataFrame], list[Event]]:
        """Return a batch's events as the answers decide them.

        Args:
            events: Stream -> rows.
            replies: The answers about them.
            wall: Wall time of the decisions.

        Returns:
            Stream -> rows, and outcomes without a label for what does not happen.
        """
        answers = {(r.model, r.row): r.prediction for r in replies if r.prediction is not None}
        found, hidden = dict(events), list[Event]()
        for stream, model in self._decides.items():
            rows = events.get(stream)
            if rows is None or not rows.height:
                continue
            if SHOP_EVENTS[stream].chosen:
                found[stream], left = self._offered(stream, rows, model, answers)
                hidden += [
                    _unlabelled(model, request_id, time, wall)
                    for request_id, time in left.select(SHOP_EVENTS[stream].key, "time").iter_rows()
                ]
            else:
                found[stream] = self._positioned(stream, rows, model, answers)
        return found, hidden

    def _positioned(
        self, stream: str, rows: pl.DataFrame, model: str, answers: Answers
    ) -> pl.DataFrame:
        given = [answers.get((model, at)) for at in range(rows.height)]
        ranks = pl.Series("rank", [one.rank if one else None for one in given], dtype=pl.Int8)
        whole = pl.col("rank").is_not_null().all().over(LIST)
        order = pl.when(whole).then("rank").otherwise("position")
        placed = rows.with_columns(ranks).select("time", SHOP_EVENTS[stream].key, order)
        shown = [
            self._remember(time.date(), request_id, position)
            for time, request_id, position in placed.iter_rows()
        ]
        return rows.with_columns(pl.Series("position", shown, dtype=rows.schema["position"]))

    def _offered(
        self, stream: str, rows: pl.DataFrame, model: str, answers: Answers
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Split considered offers in those that happen and the others."""
        key, considered = SHOP_EVENTS[stream].key, rows.to_dicts()
        happens = [False] * rows.height
        for together in lists_of(rows):
            offers = [considered[at] for at in together]
            known = self._known.get(offers[0]["time"].date(), {})
            before = [number for number, one in enumerate(offers) if one[key] in known]
            demand = [_demand(answers.get((model, at))) for at in together]
            expected = [units for units in demand if units is not None]
            if before:
                number = before[0]
            elif offers[0]["by_chance"] or len(expected) < len(offers):
                number = next(at for at, one in enumerate(offers) if one["happens"])
            else:
                prices = [one["price"] for one in offers]
                number = best_price(prices, expected, offers[0]["cost"])
            self._remember(offers[number]["time"].date(), offers[number][key], 1)
            happens[together[number]] = True
        taken = pl.Series(happens, dtype=pl.Boolean)
        return rows.filter(taken), rows.filter(~taken)

    def due(self, outcomes: pl.DataFrame) -> pl.DataFrame:
        """Return labels that become known, as they follow from the decisions.

        Args:
            outcomes: Rows of WorldDays.outcomes.

        Returns:
            The rows, without those of events that never happened.
        """
        if not self._decides:
            return outcomes
        places = [
            self._known.get(time.date(), {}).get(request_id)
            for time, request_id in outcomes.select("time", "request_id").iter_rows()
        ]
        in_list = pl.col("seen_until").is_not_null()
        decided = in_list | pl.col("happens").is_not_null()
        seen = pl.col("place") <= pl.col("seen_until")
        return (
            outcomes.with_columns(place=pl.Series(places, dtype=pl.Int8))
            .filter(~decided | pl.col("place").is_not_null())
            .with_columns(
                label=pl.when(in_list)
                .then(pl.when(seen).then("grade").otherwise(0).cast(pl.Float64))
                .otherwise("label"),
                weight=pl.when(in_list).then(weight(pl.col("place"))).otherwise("weight"),
            )
            .drop("place")
        )


def _demand(answer: GatewayAnswer | None) -> float | None:
    return None if answer is None or answer.version == NO_VERSION else answer.value


def _unlabelled(model: str, request_id: str, time: datetime, wall: datetime) -> Outcome:
    return Outcome(
        event_id=Outcome.id_for(model, request_id),
        world_time=time,
        wall_time=wall,
        model=model,
        request_id=request_id,
        request_time=time,
        label=None,
        hidden_by=NOT_OFFERED,
    )
