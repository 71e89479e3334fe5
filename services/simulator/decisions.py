"""What the shop did about answers, one by one, and what follows from it in the world.

Lists and offers are decided together (shown.py). `dojo/shop/uses.py` has the rules.

The event log and the lake are the record. A process that starts reads them, so a restart forgets no
decision, and a repeated batch gets no second one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any, cast

import polars as pl

from dojo.core.events.log import RedisEventLog
from dojo.core.events.types import Event, Outcome
from dojo.core.lake import Lake
from dojo.core.spec.schema import Label
from dojo.shop.decisions import REVIEWED, STOPPED, Policy
from dojo.shop.drift_kinds import KINDS
from dojo.shop.events import DECISIONS, ORDERS, SHOP_EVENTS, TRANSACTIONS, Decision, Settlement
from dojo.shop.uses import USES, Use
from services.simulator.advice import NO_VERSION
from services.simulator.earned import settlement
from services.simulator.feed import DueBatch
from services.simulator.gateway_client import GatewayReply
from services.simulator.logged import logged
from services.simulator.town.chance import keys, uniform
from services.simulator.town.orders import order_of

_DAY = timedelta(days=1)

# An event of the world: column -> value.
Row = Mapping[str, Any]

# A nightly score is acted on at most so long after its event.
LONGEST_NIGHT = 4 * _DAY


@dataclass
class Decided:
    """New decisions, and the outcomes without a label that follow from them."""

    decisions: list[Decision] = field(default_factory=list)
    hidden: list[Event] = field(default_factory=list)


@dataclass(frozen=True)
class _Effect:
    """What a decision about one event reaches.

    Attributes:
        name: The truth. Or the stream, if the event fails.
        use: The rule.
        models: Models whose labels it hides, if it hides any.
    """

    name: str
    use: Use
    models: tuple[str, ...]


class Decisions:
    """All decisions whose labels are not due yet, and the policy for new ones.

    Args:
        labels: Model -> what its labels say.
        seed: The world's seed. It decides the chance of each event.
    """

    def __init__(self, policy: Policy, labels: Mapping[str, Label], seed: int) -> None:
        self._policy, self._seed, self._labels = policy, seed, labels
        self._effects = {model: one for model in labels if (one := self._effect(model))}
        self._streams = {label.event for label in labels.values()}
        # Model -> names of the effects that reach its labels.
        self._reaching = {
            model: tuple({e.name for e in self._effects.values() if model in e.models})
            for model in labels
        }
        slowest = KINDS["label_delay"].highest  # a drift makes labels this many times as late
        delays = [labels[model].delay.maximum for model in self._effects]
        self._memory = max(delays, default=_DAY) * slowest + LONGEST_NIGHT + _DAY
        self._known: dict[tuple[str, str], Decision] = {}  # effect and event -> decision
        self._prevented: dict[str, date] = {}  # orders of payments that failed
        self._reviews: Counter[date] = Counter()
        self._today = date.min

    def _effect(self, model: str) -> _Effect | None:
        label = self._labels[model]
        use = USES.get(label.truth)
        if use is None:
            return None
        fails = use.hides == "event"
        models = tuple(
            other
            for other, of in self._labels.items()
            if (of.event == label.event if fails else of.truth == label.truth)
        )
        return _Effect(label.event if fails else label.truth, use, models)

    def recall(self, lake: Lake, event_log: RedisEventLog, until: datetime) -> None:
        """Read the decisions of the past, and forget those that no record has.

        Args:
            until: The present, world time.

        Raises:
            redis.RedisError: The log is out of reach.
        """
        since = until - self._memory
        for memory in (self._known, self._reviews, self._prevented):
            memory.clear()
        self._today = date.min
        for row in lake.scan(DECISIONS, since).collect().iter_rows(named=True):
            self._remember(Decision(**row))
        for event in logged(event_log, DECISIONS):
            if event.world_time >= since:
                self._remember(cast("Decision", event))

    def _remember(self, decision: Decision) -> None:
        effect = self._effects.get(decision.model)
        if effect is None:  # it is of a list or an offer
            return
        self._forget(decision.world_time.date())
        key = effect.name, decision.request_id
        if key in self._known:
            return
        self._known[key] = decision
        if decision.action in REVIEWED:
            self._reviews[decision.world_time.date()] += 1
        if effect.name == TRANSACTIONS and decision.action in STOPPED:
            self._prevented[order_of(decision.request_id)] = decision.world_time.date()

    def _forget(self, day: date) -> None:
        """Forget the decisions whose labels are due, when a new day begins."""
        if day <= self._today:
            return
        self._today, oldest = day, day - self._memory
        self._known = {k: one for k, one in self._known.items() if one.world_time.date() >= oldest}
        self._prevented = {order: on for order, on in self._prevented.items() if on >= oldest}

    @property
    def first_asked(self) -> Collection[str]:
        """Return the streams whose answers decide what else happens."""
        return (TRANSACTIONS,) if self._policy.acts else ()

    def decide(
        self,
        events: Mapping[str, pl.DataFrame],
        replies: Iterable[GatewayReply],
        wall: datetime,
        now: datetime | None = None,
    ) -> Decided:
        """Decide about the events of a batch.

        Of several models of one truth, the first to ask for an action decides. An event that
        was decided before is not decided again.

        Args:
            events: Stream -> rows of WorldDays.events.
            replies: The answers about them.
            wall: Wall time of the decisions.
            now: World time of the decisions. None is that of each event.
        """
        made = Decided()
        rows: dict[tuple[str, int], Row] = {}
        for reply in replies:
            effect, answer = self._effects.get(reply.model), reply.prediction
            if effect is None or answer is None or answer.version == NO_VERSION:
                continue
            if effect.use.hides != "nothing" and not self._policy.acts:
                continue
            stream = self._labels[reply.model].event
            row = rows.get((stream, reply.row))
            if row is None:
                row = rows[stream, reply.row] = events[stream].row(reply.row, named=True)
            amount = float(row["amount"]) if effect.use.of_amount else 0.0
            stake = effect.use.stake(answer, amount)
            request_id = row[SHOP_EVENTS[stream].key]
            if stake is None or (effect.name, request_id) in self._known:
                continue
            decision = self._decision(effect.use, reply, request_id, row, stake, wall, now)
            self._remember(decision)
            made.decisions.append(decision)
            made.hidden += self._hidden(effect, decision, row["time"])
        return made

    def _decision(
        self,
        use: Use,
        reply: GatewayReply,
        request_id: str,
        row: Row,
        stake: float,
        wall: datetime,
        now: datetime | None,
    ) -> Decision:
        assert reply.prediction is not None
        time = now or row["time"]
        share = self._policy.release_share if use.control is None else use.control
        action = use.action
        if use.hides != "nothing":
            release = self._chance(request_id, "release")
            if release <= share:
                action = "released"
            elif use.reviewed:
                review, seen = self._chance(request_id, "review"), self._reviews[time.date()]
                action = self._policy.action(bool(row["label"]), seen, release, review)
        return Decision(
            event_id=Decision.id_for(reply.model, request_id),
            world_time=time,
            wall_time=wall,
            model=reply.model,
            version=reply.prediction.version,
            arm=reply.prediction.arm,
            request_id=request_id,
            amount=stake,
            action=action,
            release_share=share if use.hides != "nothing" else 0.0,
        )

    def _chance(self, request_id: str, purpose: str) -> float:
        return float(uniform(keys([request_id], self._seed, purpose))[0])

    def _hidden(self, effect: _Effect, decision: Decision, time: datetime) -> Iterator[Event]:
        """Yield outcomes without a label, for each model whose label stays unknown.

        An approved payment's label would be known for those that a person found honest. It is
        hidden too, because such labels are no fair sample.
        """
        if effect.use.hides == "nothing" or decision.action == "released":
            return
        for model in effect.models:
            yield Outcome(
                event_id=Outcome.id_for(model, decision.request_id),
                world_time=decision.world_time,
                wall_time=decision.wall_time,
                model=model,
                request_id=decision.request_id,
                request_time=time,
                label=None,
                hidden_by=decision.action,
            )

    def happening(self, batch: DueBatch) -> DueBatch:
        """Return the batch without the orders of payments that failed."""
        if not self._prevented or ORDERS not in batch.events:
            return batch
        orders = batch.events[ORDERS]
        happens = [order not in self._prevented for order in orders["order_id"]]
        kept = orders.filter(pl.Series(happens, dtype=pl.Boolean))
        return replace(batch, events={**batch.events, ORDERS: kept})

    def due(self, outcomes: pl.DataFrame, wall: datetime) -> tuple[pl.DataFrame, list[Settlement]]:
        """Return the labels that become known, and the worth of the decisions that are due.

        Args:
            outcomes: Rows of WorldDays.outcomes, as if the shop did nothing.

        Returns:
            The rows with their weights. Labels that decisions hide are left out, and those of
            orders that never were.
        """
        if not self._known and not self._prevented:
            return outcomes, []
        weights: list[float | None] = []
        settled = []
        wanted = outcomes.select("model", "request_id", "label", "arrival", "weight")
        for model, request_id, label, arrival, each in wanted.iter_rows():
            weight = None if request_id in self._prevented else each
            for name in self._reaching.get(model, ()):
                decision = self._known.get((name, request_id))
                if decision is None:
                    continue
                use = self._effects[decision.model].use
                if use.hides != "nothing":
                    released = decision.action == "released"
                    weight = 1 / decision.release_share if released else None
                if model == decision.model:
                    settled.append(self._settlement(use, decision, label, arrival, wall))
            weights.append(weight)
        rows = outcomes.with_columns(pl.Series("weight", weights, dtype=pl.Float64))
        return rows.drop_nulls("weight"), settled

    def _settlement(
        self, use: Use, decision: Decision, label: float, at: datetime, wall: datetime
    ) -> Settlement:
        works = float(self._chance(decision.request_id, "works") <= use.effect)
        euro = use.worth(decision.action, decision.amount, label, works)
        return settlement(decision, decision.request_id, at, wall, euro)
