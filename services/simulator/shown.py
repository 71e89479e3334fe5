"""What the answers decide in lists and offers, and the labels that follow from it.

A ranking's ranks are the positions of products. A demand decides which price of a product is
offered. Where no answers decide (advice.py), the shop's own order and chance do.

The event log and the lake are the record. A process that starts reads them, so a repeated batch is
decided as before. The record may end within a list. Then its other products take the places that
are left.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, cast

import polars as pl

from dojo.core.events.log import RedisEventLog
from dojo.core.events.types import Event, Outcome
from dojo.core.lake import Lake
from dojo.core.spec.schema import Label
from dojo.shop import lists, prices
from dojo.shop.drift_kinds import KINDS
from dojo.shop.events import DECISIONS, SHOP_EVENTS, Action, Decision, Listed, Settlement
from services.simulator.advice import Advice, advice_of
from services.simulator.earned import settlements_of
from services.simulator.gateway_client import LIST, GatewayReply, lists_of
from services.simulator.logged import logged

_DAY = timedelta(days=1)

# Why a considered price has no label.
NOT_OFFERED = "not_offered"

# A product of a list, or a considered offer: column -> value.
Row = Mapping[str, Any]


@dataclass
class _Day:
    """What was decided on a day.

    Attributes:
        positions: Product in a list, or offer -> position. An offer's is 1.
        decisions: List -> the decision about it.
    """

    positions: dict[str, int] = field(default_factory=dict)
    decisions: dict[str, Decision] = field(default_factory=dict)


@dataclass
class DecidedBatch:
    """A batch as the answers decide it.

    Attributes:
        events: Stream -> rows.
        decisions: The new decisions.
        hidden: Outcomes without a label, for what does not happen.
    """

    events: dict[str, pl.DataFrame]
    decisions: list[Decision] = field(default_factory=list)
    hidden: list[Event] = field(default_factory=list)


class Shown:
    """What was shown and offered, of all events whose labels are not due yet.

    Args:
        labels: Model -> what its labels say.
    """

    def __init__(self, labels: Mapping[str, Label]) -> None:
        self._models: dict[str, list[str]] = {}  # stream -> the models with labels about it
        self._memory = _DAY
        slowest = KINDS["label_delay"].highest  # a drift makes labels this many times as late
        for model, label in labels.items():
            event = SHOP_EVENTS[label.event]
            if event.chosen or issubclass(event, Listed):
                self._models.setdefault(label.event, []).append(model)
                self._memory = max(self._memory, label.delay.maximum * slowest + _DAY)
        self._days: dict[date, _Day] = {}

    def recall(self, lake: Lake, event_log: RedisEventLog, until: datetime) -> None:
        """Read what was shown and offered in the past, and forget what no record has.

        Args:
            until: The present, world time.

        Raises:
            redis.RedisError: The log is out of reach.
        """
        since = until - self._memory
        self._days = {}
        for stream in self._models:
            event = SHOP_EVENTS[stream]
            position = pl.lit(1) if event.chosen else pl.col("position")
            rows = lake.scan(stream, since).select("world_time", event.key, position).collect()
            for time, request_id, place in rows.iter_rows():
                self._of(time).positions.setdefault(request_id, place)
            for one in logged(event_log, stream):
                if one.world_time >= since:
                    place = getattr(one, "position", 1)
                    self._of(one.world_time).positions.setdefault(getattr(one, event.key), place)
        if self._models:
            rows = lake.scan(DECISIONS, since).collect()
            made = [Decision(**row) for row in rows.iter_rows(named=True)]
            for one in (*made, *logged(event_log, DECISIONS)):
                decision = cast("Decision", one)
                if decision.world_time >= since:
                    known = self._of(decision.world_time).decisions
                    known.setdefault(decision.request_id, decision)

    def _of(self, time: datetime) -> _Day:
        """Return a day's decisions. A new day forgets those whose labels are due."""
        day = time.date()
        if day not in self._days:
            self._days[day] = _Day()
            for old in [other for other in self._days if other < day - self._memory]:
                del self._days[old]
        return self._days[day]

    def decided(
        self, events: Mapping[str, pl.DataFrame], replies: Iterable[GatewayReply], wall: datetime
    ) -> DecidedBatch:
        """Decide about a batch.

        Args:
            events: Stream -> rows.
            replies: The answers about them.
            wall: Wall time of the decisions.
        """
        answers = {(r.model, r.row): r.prediction for r in replies if r.prediction is not None}
        batch = DecidedBatch(dict(events))
        for stream, models in self._models.items():
            rows = events.get(stream)
            if rows is None or not rows.height:
                continue
            event, of = SHOP_EVENTS[stream], rows.to_dicts()
            decide = self._offer if event.chosen else self._order
            places: list[int | None] = []
            for part in lists_of(rows):
                together = [of[at] for at in part]
                advice = advice_of(models, part, answers, ranks=not event.chosen)
                places += decide(event.key, together, advice, batch, wall)
            placed = rows.with_columns(place=pl.Series(places, dtype=pl.Int8))
            if event.chosen:
                batch.events[stream] = placed.drop_nulls("place").drop("place")
                for one in placed.filter(pl.col("place").is_null()).iter_rows(named=True):
                    batch.hidden += [
                        _unlabelled(m, one[event.key], one["time"], wall) for m in models
                    ]
            else:
                position = pl.col("place").cast(rows.schema["position"])
                batch.events[stream] = placed.with_columns(position=position).drop("place")
        return batch

    def _order(
        self,
        key: str,
        products: Sequence[Row],
        advice: Advice | None,
        batch: DecidedBatch,
        wall: datetime,
    ) -> Iterator[int | None]:
        """Yield the position of each product of a list."""
        day, list_id = self._of(products[0]["time"]), products[0][LIST]
        wanted = advice.values if advice else [one["position"] for one in products]
        new = [
            (place, one[key])
            for place, one in zip(wanted, products, strict=True)
            if one[key] not in day.positions
        ]
        if new:
            taken = {day.positions.get(one[key]) for one in products}
            free = [place for place in range(1, len(products) + 1) if place not in taken]
            for (_, name), place in zip(sorted(new), free, strict=False):
                day.positions[name] = place
            if advice and list_id not in day.decisions:
                self._decide(advice, "ordered", products[0], 0.0, 0.0, batch, wall)
        yield from (day.positions[one[key]] for one in products)

    def _offer(
        self,
        key: str,
        offers: Sequence[Row],
        advice: Advice | None,
        batch: DecidedBatch,
        wall: datetime,
    ) -> Iterator[int | None]:
        """Yield 1 for the considered offer that happens, None for the others."""
        day, first = self._of(offers[0]["time"]), offers[0]
        if not any(one[key] in day.positions for one in offers):
            considered = [one["price"] for one in offers]
            chosen = next(at for at, one in enumerate(offers) if one["happens"])
            before = day.decisions.get(first[LIST])
            if before and before.amount in considered:  # the record has lost the offer alone
                chosen = considered.index(before.amount)
            elif advice and not first["by_chance"]:
                chosen = prices.best_price(considered, advice.values, first["cost"])
                price, share = considered[chosen], prices.BY_CHANCE
                self._decide(advice, "priced", first, price, share, batch, wall)
            day.positions[offers[chosen][key]] = 1
        yield from (day.positions.get(one[key]) for one in offers)

    def _decide(
        self,
        advice: Advice,
        action: Action,
        about: Row,
        amount: float,
        by_chance: float,
        batch: DecidedBatch,
        wall: datetime,
    ) -> None:
        decision = Decision(
            event_id=Decision.id_for(advice.model, about[LIST]),
            world_time=about["time"],
            wall_time=wall,
            model=advice.model,
            version=advice.answer.version,
            arm=advice.answer.arm,
            request_id=about[LIST],
            amount=amount,
            action=action,
            release_share=by_chance,
        )
        self._of(about["time"]).decisions[about[LIST]] = decision
        batch.decisions.append(decision)

    def due(self, outcomes: pl.DataFrame, wall: datetime) -> tuple[pl.DataFrame, list[Settlement]]:
        """Return labels that become known, and what the decisions were worth.

        Args:
            outcomes: Rows of WorldDays.outcomes.
            wall: Wall time of the settlements.

        Returns:
            The rows, without those of events that never happened.
        """
        if not self._models:
            return outcomes, []
        places = [
            self._days[time.date()].positions.get(request_id) if time.date() in self._days else None
            for time, request_id in outcomes.select("time", "request_id").iter_rows()
        ]
        decided, in_list = pl.col(LIST).is_not_null(), pl.col("seen_until").is_not_null()
        placed = outcomes.with_columns(place=pl.Series(places, dtype=pl.Int8))
        settled = list(self._settled(placed.filter(decided), wall))
        seen = pl.col("place") <= pl.col("seen_until")
        known = placed.filter(~decided | pl.col("place").is_not_null()).with_columns(
            label=pl.when(in_list)
            .then(pl.when(seen).then("grade").otherwise(0).cast(pl.Float64))
            .otherwise("label"),
            weight=pl.when(in_list).then(lists.weight(pl.col("place"))).otherwise("weight"),
        )
        return known.drop("place"), settled

    def _settled(self, rows: pl.DataFrame, wall: datetime) -> Iterator[Settlement]:
        """Yield the worth of decisions, of those rows whose truth is due."""
        for (name,), of_list in rows.group_by(LIST, maintain_order=True):
            day = self._days.get(of_list["time"][0].date())
            decision = day.decisions.get(str(name)) if day else None
            if decision is not None:
                due = of_list.filter(model=decision.model).to_dicts()
                yield from settlements_of(decision, due, wall)


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
