"""What the answers decide in lists and offers, and the labels and euros that follow from it.

A ranking's ranks are the positions of products. A demand decides which price of a product is
offered. Without an answer, the shop's own order and chance decide. The event log and the lake are
the record. A process that starts reads them, so a repeated batch is decided as before.
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
from dojo.shop.events import DECISIONS, SHOP_EVENTS, Action, Decision, Listed, Settlement
from dojo.shop.truths import BOUGHT
from services.simulator.gateway_client import LIST, GatewayAnswer, GatewayReply, lists_of
from services.simulator.logged import logged

_DAY = timedelta(days=1)

# The version in an answer without any model. Its ranks keep the shop's order, and its demand is the
# same at every price.
NO_VERSION = "0"

# Why a considered price has no label.
NOT_OFFERED = "not_offered"

# Model and row -> the answer.
Answers = Mapping[tuple[str, int], GatewayAnswer]


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
        self._decides: dict[str, str] = {}  # stream -> the model that decides about it
        self._memory = _DAY
        for model, label in labels.items():
            event = SHOP_EVENTS[label.event]
            if event.chosen or issubclass(event, Listed):
                self._decides.setdefault(label.event, model)
                self._memory = max(self._memory, label.delay.maximum + _DAY)
        self._days: dict[date, _Day] = {}

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
                self._of(time).positions.setdefault(request_id, place)
            for one in logged(event_log, stream):
                if one.world_time >= since:
                    place = getattr(one, "position", 1)
                    self._of(one.world_time).positions.setdefault(getattr(one, event.key), place)
        if self._decides:
            rows = lake.scan(DECISIONS, since).collect()
            made = [Decision(**row) for row in rows.iter_rows(named=True)]
            for one in (*made, *logged(event_log, DECISIONS)):
                decision = cast("Decision", one)
                if decision.world_time >= since:
                    self._of(decision.world_time).decisions[decision.request_id] = decision

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
        for stream, model in self._decides.items():
            rows = events.get(stream)
            if rows is None or not rows.height:
                continue
            key, of = SHOP_EVENTS[stream].key, rows.to_dicts()
            together = [
                ([of[at] for at in part], [answers.get((model, at)) for at in part])
                for part in lists_of(rows)
            ]
            if SHOP_EVENTS[stream].chosen:
                happens = [
                    one for part in together for one in self._offer(key, model, *part, batch, wall)
                ]
                taken = pl.Series(happens, dtype=pl.Boolean)
                batch.events[stream] = rows.filter(taken)
                for one in rows.filter(~taken).iter_rows(named=True):
                    batch.hidden.append(_unlabelled(model, one[key], one["time"], wall))
            else:
                shown = [
                    one for part in together for one in self._order(key, model, *part, batch, wall)
                ]
                positions = pl.Series("position", shown, dtype=rows.schema["position"])
                batch.events[stream] = rows.with_columns(positions)
        return batch

    def _order(
        self,
        key: str,
        model: str,
        products: Sequence[Mapping[str, Any]],
        answers: Sequence[GatewayAnswer | None],
        batch: DecidedBatch,
        wall: datetime,
    ) -> list[int]:
        """Return the position of each product of a list."""
        day = self._of(products[0]["time"])
        if products[0][key] not in day.positions:
            ranks = [one.rank for one in answers if one is not None and one.rank is not None]
            whole = len(ranks) == len(products)
            own = [one["position"] for one in products]
            for product, position in zip(products, ranks if whole else own, strict=True):
                day.positions[product[key]] = position
            if whole and answers[0] is not None and answers[0].version != NO_VERSION:
                self._decide(model, answers[0], "ordered", products[0], 0.0, 0.0, batch, wall)
        return [day.positions.setdefault(one[key], one["position"]) for one in products]

    def _offer(
        self,
        key: str,
        model: str,
        offers: Sequence[Mapping[str, Any]],
        answers: Sequence[GatewayAnswer | None],
        batch: DecidedBatch,
        wall: datetime,
    ) -> list[bool]:
        """Return which one of the considered offers happens."""
        day = self._of(offers[0]["time"])
        if not any(one[key] in day.positions for one in offers):
            demand = [
                one.value
                for one in answers
                if one is not None and one.value is not None and one.version != NO_VERSION
            ]
            own = next(at for at, one in enumerate(offers) if one["happens"])
            chosen = own
            if len(demand) == len(offers) and not offers[0]["by_chance"]:
                considered = [one["price"] for one in offers]
                chosen = prices.best_price(considered, demand, offers[0]["cost"])
                answer = cast("GatewayAnswer", answers[chosen])
                price = offers[chosen]["price"]
                share = prices.BY_CHANCE
                self._decide(model, answer, "priced", offers[0], price, share, batch, wall)
            day.positions[offers[chosen][key]] = 1
        return [one[key] in day.positions for one in offers]

    def _decide(
        self,
        model: str,
        answer: GatewayAnswer,
        action: Action,
        about: Mapping[str, Any],
        amount: float,
        by_chance: float,
        batch: DecidedBatch,
        wall: datetime,
    ) -> None:
        decision = Decision(
            event_id=Decision.id_for(about[LIST]),
            world_time=about["time"],
            wall_time=wall,
            model=model,
            version=answer.version,
            arm=answer.arm,
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
        if not self._decides:
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
        """Yield the worth of decisions, of those rows whose truth is due.

        A product in a list is a part of its decision. It is told if its position changed a
        purchase, or if it stood at the top.
        """
        deciding = set(self._decides.values())
        for (name,), of_list in rows.group_by(LIST, maintain_order=True):
            due = [one for one in of_list.iter_rows(named=True) if one["model"] in deciding]
            day = self._days.get(due[0]["time"].date()) if due else None
            decision = day.decisions.get(str(name)) if day else None
            if decision is None:
                continue
            if decision.action == "priced":
                offered = next((one for one in due if one["place"] is not None), None)
                own = next((one for one in due if one["happens"]), None)
                if offered is not None and own is not None:
                    euro = prices.gain_euro(
                        offered["price"], offered["label"], own["price"], own["label"], own["cost"]
                    )
                    yield _settlement(decision, offered, euro, wall)
                continue
            for one in due:
                if one["place"] is None:
                    continue
                bought, would_be = (
                    one["grade"] == BOUGHT and position <= one["seen_until"]
                    for position in (one["place"], one["position"])
                )
                euro = lists.gain_euro(one["price"], bought, would_be)
                if euro or one["place"] == 1:
                    yield _settlement(decision, one, euro, wall)


def _settlement(
    decision: Decision, row: Mapping[str, Any], euro: float, wall: datetime
) -> Settlement:
    return Settlement(
        event_id=Settlement.id_for(row["request_id"]),
        world_time=row["arrival"],
        wall_time=wall,
        model=decision.model,
        version=decision.version,
        arm=decision.arm,
        request_id=decision.request_id,
        request_time=decision.world_time,
        action=decision.action,
        value_euro=euro,
    )


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
