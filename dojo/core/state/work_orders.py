"""Work orders: what services ask of the pipelines, which they never import.

The trainer process executes them, beside its schedule.

    dojo:work:order:<id>    document: one order with its state and answer (`Work`)
    dojo:work:open          hash: `<model>:<kind>` -> id of the order that is pending or running
    dojo:work:ended         list: ids of the latest KEPT orders that ended, newest first

    pending -> running -> done | failed | refused
       \\--------------------------------/

At most one order of each kind is open per model. Ended orders beyond KEPT are forgotten.

Placing the same id twice places it once, and an order that ended stays as it ended. Both sides may
be killed anywhere. An order and the two indexes change in one write, so an order is either open or
ended. When an executor dies, the next one finds its order running. It goes on with the `notes` of
the first one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Literal, cast

import msgspec
from redis import Redis

from dojo.core.state.atomic import Check, Command, ConflictError
from dojo.core.state.clock import wall_now
from dojo.core.state.documents import Document, document_key

Kind = Literal["retrain", "evaluate", "drift_report"]
State = Literal["pending", "running", "done", "failed", "refused"]
Ended = Literal["done", "failed", "refused"]

NO_DEADLINE = timedelta.max

KEPT = 500  # ended orders; about a kilobyte each, and more than a year of one model's trouble
LARGEST_ANSWER = 65_536  # bytes: figures and links, never data

# It names an Airflow run, a directory and a Redis key.
ORDER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,159}")

_OPEN_KEY, _ENDED_KEY = "dojo:work:open", "dojo:work:ended"
_FAMILY = "dojo:work:order:{id}"


class OrderOpenError(RuntimeError):
    """Another order of the same kind for the model is pending or running, named by `order_id`."""

    def __init__(self, order: WorkOrder, order_id: str) -> None:
        self.order_id = order_id
        super().__init__(
            f"{order.model}: order {order_id} to {order.kind} is still open; wait until it has"
            " ended"
        )


class UnknownOrderError(LookupError):
    """No order of this id was placed, or it ended long ago and is forgotten."""


class WorkOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked.

    Attributes:
        id: Letters, digits, `.`, `_`, `-`. It names the order for good and derives from the
            occasion, so that a repeated order is recognised.
        kind: `retrain` the model as its schedule would, or `evaluate` its champion on the freshest
            labelled payments. A `drift_report` is a page that compares a window with the version's
            reference.
        who: Author, for the audit trail.
        why: Reason, for the audit trail.
        world_time: When it was asked.
        parameters: For drift_report `version`, `start` and `end` (ISO instants). The others take
            none.

    Raises:
        ValueError: The id cannot name a file, or world_time has no zone.
    """

    id: str
    model: str
    kind: Kind
    who: str
    why: str
    world_time: datetime
    parameters: dict[str, Any] = {}

    def __post_init__(self) -> None:
        if not ORDER_ID.fullmatch(self.id):
            raise ValueError(
                f"id: expected letters, digits, '.', '_' and '-' (at most 160), got {self.id!r}"
            )
        if self.world_time.tzinfo is None:
            raise ValueError(
                f"world_time: expected a time with its zone, got {self.world_time.isoformat()}"
            )


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """An order and what became of it. Times are wall time.

    Attributes:
        state: `done` did what was asked. For `failed` and `refused` the answer's `error` says why.
            A refused order would be refused again as things are.
        answer: Small JSON, empty until the order ended. A retrain gives `outcome` (promote, keep,
            regression, first) and the gate's reasons. An evaluation gives `verdict` (ok, degraded,
            insufficient_data) and the figures. A drift report gives `url`.
        attempts: How often an executor began it.
        notes: What the executor needs to go on after a kill. `waits` says why no part of the order
            runs, with the way out.
    """

    order: WorkOrder
    state: State
    placed_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    attempts: int = 0
    answer: dict[str, Any] = {}
    notes: dict[str, Any] = {}

    @property
    def ended(self) -> bool:
        return self.state in ("done", "failed", "refused")


def is_overdue(work: Work, deadline: timedelta) -> bool:
    """Whether an order has waited for longer than an order may.

    The caller asks only about orders that do not run.
    """
    return wall_now() - work.placed_at > deadline


def overdue_words(deadline: timedelta, why: str) -> str:
    """Why an order was given up."""
    minutes = deadline / timedelta(minutes=1)
    return f"it waited for {minutes:g} minutes (DOJO_ORDER_DEADLINE_SECONDS): {why}"


class WorkOrders:
    """The orders in Redis. Raises redis.RedisError when it is out of reach."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def place(self, order: WorkOrder) -> Work:
        """Place an order. An order that was placed before is returned as it stands, ended or not.

        Raises:
            OrderOpenError: Another order of this kind is open for the model. Nothing was placed.
        """
        document, slot = self._document(order.id), _slot(order)
        while True:
            found = document.read()
            if found.value is not None:
                return found.value
            open_order = cast("bytes | None", self._redis.hget(_OPEN_KEY, slot))
            if open_order is not None:
                raise OrderOpenError(order, open_order.decode())
            work = Work(order=order, state="pending", placed_at=wall_now())
            free: Check = (("HGET", _OPEN_KEY, slot), b"")
            with suppress(ConflictError):
                document.replace(
                    found.revision,
                    work,
                    checks=[free],
                    writes=[("HSET", _OPEN_KEY, slot, order.id)],
                )
                return work

    def get(self, order_id: str) -> Work | None:
        return self._document(order_id).get()

    def open(self, model: str | None = None) -> list[Work]:
        """Orders that have not ended, the oldest first, of one model or of all."""
        ids = cast("Mapping[bytes, bytes]", self._redis.hgetall(_OPEN_KEY)).values()
        found = [
            work
            for order_id in ids
            if (work := self.get(order_id.decode())) is not None and not work.ended
        ]
        return sorted(
            (work for work in found if model is None or work.order.model == model),
            key=lambda w: (w.placed_at, w.order.id),
        )

    def ended(self, limit: int = 20) -> list[Work]:
        """Up to `limit` orders that ended, newest first."""
        ids = cast("list[bytes]", self._redis.lrange(_ENDED_KEY, 0, limit - 1))
        return [work for order_id in ids if (work := self.get(order_id.decode())) is not None]

    def begin(self, order_id: str) -> Work:
        """Take up an order, for the first time or after an interruption.

        An order that has ended stays ended.
        """

        def began(work: Work) -> Work:
            started = work.started_at or wall_now()
            return msgspec.structs.replace(
                work, state="running", started_at=started, attempts=work.attempts + 1
            )

        return self._change(order_id, began)

    def note(self, order_id: str, **notes: Any) -> Work:
        """Remember something for the executor that goes on with the order."""
        return self._change(
            order_id, lambda work: msgspec.structs.replace(work, notes={**work.notes, **notes})
        )

    def end(self, order_id: str, state: Ended, answer: Mapping[str, Any]) -> Work:
        """Say how it ended. The first to say so is right, and its order is returned.

        Raises:
            UnknownOrderError. ValueError: the answer is larger than LARGEST_ANSWER.
        """
        size = len(msgspec.json.encode(answer))
        if size > LARGEST_ANSWER:
            raise ValueError(
                f"the answer to {order_id} has {size:,} bytes, more than {LARGEST_ANSWER:,}: keep"
                " data elsewhere"
            )
        return self._change(
            order_id,
            lambda work: msgspec.structs.replace(
                work, state=state, ended_at=wall_now(), answer=dict(answer)
            ),
        )

    def _change(self, order_id: str, change: Callable[[Work], Work]) -> Work:
        document = self._document(order_id)
        while True:
            found = document.read()
            if found.value is None:
                raise UnknownOrderError(f"no order {order_id}")
            if found.value.ended:
                return found.value
            changed = change(found.value)
            checks, writes = self._closing(changed.order) if changed.ended else ([], [])
            with suppress(ConflictError):
                document.replace(found.revision, changed, checks=checks, writes=writes)
                return changed

    def _closing(self, order: WorkOrder) -> tuple[list[Check], list[Command]]:
        """Changes of the indexes when an order ends, as long as no other one ends first."""
        newest = cast("bytes | None", self._redis.lindex(_ENDED_KEY, 0))
        forgotten = cast("list[bytes]", self._redis.lrange(_ENDED_KEY, KEPT - 1, -1))
        writes: list[Command] = [
            ("HDEL", _OPEN_KEY, _slot(order)),
            ("LPUSH", _ENDED_KEY, order.id),
            ("LTRIM", _ENDED_KEY, 0, KEPT - 1),
            *(("DEL", document_key(_FAMILY, id=old.decode())) for old in forgotten),
        ]
        return [(("LINDEX", _ENDED_KEY, 0), newest or b"")], writes

    def _document(self, order_id: str) -> Document[Work]:
        return Document(self._redis, _FAMILY, Work, id=order_id)


def _slot(order: WorkOrder) -> str:
    return f"{order.model}:{order.kind}"
