"""What the shop did about its models' answers, and what follows from it in the world.

The event log and the lake are the record. A process that starts reads them, so a restart forgets no
decision, and a repeated batch gets no second one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import date, datetime
from typing import cast

import polars as pl

from dojo.core.events.log import RedisEventLog
from dojo.core.events.types import Event, Outcome
from dojo.core.lake import Lake
from dojo.core.spec.schema import Label
from dojo.shop.decisions import REVIEWED, STOPPED, Policy, value_euro
from dojo.shop.events import (
    DECISIONS,
    ORDERS,
    TRANSACTIONS,
    Action,
    Decision,
    Settlement,
)
from dojo.shop.truths import TRUTHS
from services.simulator.feed import DueBatch
from services.simulator.gateway_client import GatewayReply
from services.simulator.logged import logged
from services.simulator.town.chance import keys, uniform
from services.simulator.town.orders import order_of

# Decisions of the answers about lists and offers (shown.py).
NOT_OF_PAYMENTS: frozenset[Action] = frozenset({"ordered", "priced"})


class Decisions:
    """All decisions whose payments' labels are not due yet, and the policy for new ones.

    Args:
        labels: Model -> what its labels say.
        seed: The world's seed. It decides the chance of each payment.
    """

    def __init__(self, policy: Policy, labels: Mapping[str, Label], seed: int) -> None:
        self._policy, self._seed = policy, seed
        self._acting = frozenset(m for m, of in labels.items() if TRUTHS[of.truth].acted_on)
        self._about_payments = tuple(m for m, of in labels.items() if of.event == TRANSACTIONS)
        self._known: dict[str, Decision] = {}  # payment -> decision
        self._due: Counter[str] = Counter()  # payment -> labels that are still to come
        self._reviews: Counter[date] = Counter()
        self._prevented: set[str] = set()  # orders of payments that failed

    def recall(self, lake: Lake, event_log: RedisEventLog) -> None:
        """Read the decisions of the past, and forget those that no record has.

        Raises:
            redis.RedisError: The log is out of reach.
        """
        for memory in (self._known, self._due, self._reviews, self._prevented):
            memory.clear()
        of_payments = ~pl.col("action").is_in(sorted(NOT_OF_PAYMENTS))
        for row in lake.scan(DECISIONS).filter(of_payments).collect().iter_rows(named=True):
            self._remember(Decision(**row))
        for event in logged(event_log, DECISIONS):
            self._remember(cast("Decision", event))

    def _remember(self, decision: Decision) -> None:
        if decision.request_id in self._known or decision.action in NOT_OF_PAYMENTS:
            return
        self._known[decision.request_id] = decision
        self._due[decision.request_id] = len(self._about_payments)
        if decision.action in REVIEWED:
            self._reviews[decision.world_time.date()] += 1
        if decision.action in STOPPED:
            self._prevented.add(order_of(decision.request_id))

    @property
    def first_asked(self) -> Collection[str]:
        """Return the streams whose answers decide what else happens."""
        return (TRANSACTIONS,) if self._policy.acts else ()

    def decide(
        self, payments: pl.DataFrame, replies: Iterable[GatewayReply], wall: datetime
    ) -> list[Decision]:
        """Decide about the flagged payments of a batch.

        Args:
            payments: Rows of WorldDays.events.
            replies: The answers about them. The first model that flags a payment decides.

        Returns:
            The new decisions. A payment that was decided before is not decided again.
        """
        if not self._policy.acts:
            return []
        flagged: dict[int, GatewayReply] = {}
        for reply in replies:
            if reply.model in self._acting and reply.prediction and reply.prediction.flagged:
                flagged.setdefault(reply.row, reply)
        made = []
        for at, reply in sorted(flagged.items()):
            payment = payments.row(at, named=True)
            request_id, time = payment["transaction_id"], payment["time"]
            if request_id in self._known:
                continue
            release, review = (
                float(uniform(keys([request_id], self._seed, purpose))[0])
                for purpose in ("release", "review")
            )
            prediction = reply.prediction
            assert prediction is not None
            decision = Decision(
                event_id=Decision.id_for(request_id),
                world_time=time,
                wall_time=wall,
                model=reply.model,
                version=prediction.version,
                arm=prediction.arm,
                request_id=request_id,
                amount=payment["amount"],
                action=self._policy.action(
                    bool(payment["label"]), self._reviews[time.date()], release, review
                ),
                release_share=self._policy.release_share,
            )
            self._remember(decision)
            made.append(decision)
        return made

    def hidden(self, made: Iterable[Decision]) -> list[Event]:
        """Outcomes without a label, for each model with labels about the decided payments.

        An approved payment's label would be known for those that a person found honest. It is
        hidden too, because such labels are no fair sample.
        """
        return [
            Outcome(
                event_id=Outcome.id_for(model, decision.request_id),
                world_time=decision.world_time,
                wall_time=decision.wall_time,
                model=model,
                request_id=decision.request_id,
                request_time=decision.world_time,
                label=None,
                hidden_by=decision.action,
            )
            for decision in made
            if decision.action != "released"
            for model in self._about_payments
        ]

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
            outcomes: Rows of WorldDays.outcomes, as if every payment passed.

        Returns:
            The rows with their weights. Labels of failed or reviewed payments are left out, and of
            orders that never were.
        """
        if not self._known and not self._prevented:
            return outcomes, []
        weights: list[float | None] = []
        settled = []
        for row in outcomes.iter_rows(named=True):
            request_id = row["request_id"]
            decision = self._known.get(request_id)
            if decision is None:
                weights.append(None if request_id in self._prevented else row["weight"])
                continue
            released = decision.action == "released"
            weights.append(1 / decision.release_share if released else None)
            if row["model"] == decision.model:
                settled.append(_settlement(decision, row["label"] == 1, row["arrival"], wall))
            self._due[request_id] -= 1
            if not self._due[request_id]:
                del self._known[request_id], self._due[request_id]
        rows = outcomes.with_columns(pl.Series("weight", weights, dtype=pl.Float64))
        return rows.drop_nulls("weight"), settled


def _settlement(decision: Decision, is_fraud: bool, at: datetime, wall: datetime) -> Settlement:
    return Settlement(
        event_id=Settlement.id_for(decision.request_id),
        world_time=at,
        wall_time=wall,
        model=decision.model,
        version=decision.version,
        arm=decision.arm,
        request_id=decision.request_id,
        request_time=decision.world_time,
        action=decision.action,
        value_euro=value_euro(decision.action, is_fraud, decision.amount),
    )
