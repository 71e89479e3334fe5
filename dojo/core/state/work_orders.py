"""Work orders: what services ask of the pipelines, which they never import. The trainer process executes them, beside its schedule.

    dojo:work:order:<id>    one order with its state and answer, as JSON (`Work`)
    dojo:work:open          hash: `<model>:<kind>` -> id of the order that is pending or running; at most one of each
    dojo:work:ended         list: ids of the latest KEPT orders that ended, newest first; older ones are forgotten

    pending -> running -> done | failed | refused
       \\--------------------------------/

Placing the same id twice places it once, and an order that ended stays as it ended. Both sides may be killed anywhere: every change is one
compare-and-set of the order together with the two indexes, so an order is open or ended, never both and never neither. What is running
when its executor dies is found running by the next one, which goes on with the `notes` that the first one left.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Literal, cast

import msgspec
from redis import Redis

from dojo.core.state.clock import wall_now

Kind = Literal["retrain", "evaluate", "drift_report"]
State = Literal["pending", "running", "done", "failed", "refused"]
Ended = Literal["done", "failed", "refused"]

KEPT = 500  # ended orders; about a kilobyte each, and more than a year of one model's trouble
LARGEST_ANSWER = 65_536  # bytes; figures and links, never data

# It names an Airflow run, a directory and a Redis key.
ORDER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,159}")

_OPEN_KEY, _ENDED_KEY = "dojo:work:open", "dojo:work:ended"
_ORDER_PREFIX = "dojo:work:order:"

# KEYS order, open, ended. ARGV id, what was read ('' for nothing), what to write, `<model>:<kind>`, whether it ends, how many ended ones
# to keep, prefix of orders. Returns 1, 0 when the order was changed meanwhile, or the id of the open order that is in the way.
_WRITE = """
if (redis.call('get', KEYS[1]) or '') ~= ARGV[2] then return 0 end
local open = redis.call('hget', KEYS[2], ARGV[4])
if ARGV[2] == '' and open then return open end
redis.call('set', KEYS[1], ARGV[3])
if ARGV[5] == '0' then
    redis.call('hset', KEYS[2], ARGV[4], ARGV[1])
    return 1
end
if open == ARGV[1] then redis.call('hdel', KEYS[2], ARGV[4]) end
redis.call('lpush', KEYS[3], ARGV[1])
for _, old in ipairs(redis.call('lrange', KEYS[3], ARGV[6], -1)) do redis.call('del', ARGV[7] .. old) end
redis.call('ltrim', KEYS[3], 0, ARGV[6] - 1)
return 1
"""


class OrderOpenError(RuntimeError):
    """Another order of the same kind for the model is pending or running. `order_id` is its."""

    def __init__(self, order: WorkOrder, order_id: str) -> None:
        self.order_id = order_id
        super().__init__(f"{order.model}: order {order_id} to {order.kind} is still open; wait until it has ended")


class UnknownOrderError(LookupError):
    """No order of this id was placed, or it ended so long ago that it is forgotten."""


class WorkOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked.

    Attributes:
        id: names it for good: letters, digits, `.`, `_`, `-`. Derived from the occasion, so that asking again is recognised.
        kind: `retrain` the model as its schedule would; `evaluate` its champion on the freshest labelled payments; `drift_report`: a page
            that compares a window with the version's reference.
        who, why: for the audit trail. world_time: when it was asked.
        parameters: drift_report: version, start, end (ISO instants). The others take none.

    Raises:
        ValueError: the id cannot name a file, or world_time has no zone.
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
            raise ValueError(f"id: expected letters, digits, '.', '_' and '-' (at most 160), got {self.id!r}")
        if self.world_time.tzinfo is None:
            raise ValueError(f"world_time: expected a time with its zone, got {self.world_time.isoformat()}")


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """An order and what became of it. Times are wall time.

    Attributes:
        answer: small JSON, empty until it ended. done: what was asked for. failed, refused: `error` says why; what is refused ends the
            same when it is asked again as things are.
            retrain: `outcome` (promote, keep, regression, first) and what the gate said.
            evaluate: `verdict` (ok, degraded, insufficient_data) and the figures. drift_report: `url`.
        attempts: how often an executor began it.
        notes: what the executor needs to go on after a kill.
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


class WorkOrders:
    """The orders in Redis. Raises redis.RedisError when it is out of reach."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def place(self, order: WorkOrder) -> Work:
        """Ask for it. An order that was placed before is returned as it stands, ended or not.

        Raises:
            OrderOpenError: another one of this kind is open for the model; nothing was placed.
        """
        while True:
            if (known := self.get(order.id)) is not None:
                return known
            work = Work(order=order, state="pending", placed_at=wall_now())
            answer = self._write(b"", work)
            if isinstance(answer, bytes):
                raise OrderOpenError(order, answer.decode())
            if answer:
                return work

    def get(self, order_id: str) -> Work | None:
        return self._read(order_id)[1]

    def open(self, model: str | None = None) -> list[Work]:
        """Orders that have not ended, the oldest first; of one model, or of all."""
        ids = cast("Mapping[bytes, bytes]", self._redis.hgetall(_OPEN_KEY)).values()
        found = [work for order_id in ids if (work := self.get(order_id.decode())) is not None and not work.ended]
        return sorted(
            (work for work in found if model is None or work.order.model == model), key=lambda w: (w.placed_at, w.order.id)
        )

    def ended(self, limit: int = 20) -> list[Work]:
        """Up to `limit` orders that ended, newest first."""
        ids = cast("list[bytes]", self._redis.lrange(_ENDED_KEY, 0, limit - 1))
        return [work for order_id in ids if (work := self.get(order_id.decode())) is not None]

    def begin(self, order_id: str) -> Work:
        """The executor takes it up: the first time, or again after it was interrupted. One that has ended stays ended."""

        def began(work: Work) -> Work:
            started = work.started_at or wall_now()
            return msgspec.structs.replace(work, state="running", started_at=started, attempts=work.attempts + 1)

        return self._change(order_id, began)

    def note(self, order_id: str, **notes: Any) -> Work:
        """Remember something for whoever goes on with it."""
        return self._change(order_id, lambda work: msgspec.structs.replace(work, notes={**work.notes, **notes}))

    def end(self, order_id: str, state: Ended, answer: Mapping[str, Any]) -> Work:
        """Say how it ended. The first to say so is right; the order is returned as it ended.

        Raises:
            UnknownOrderError. ValueError: the answer is larger than LARGEST_ANSWER.
        """
        size = len(msgspec.json.encode(answer))
        if size > LARGEST_ANSWER:
            raise ValueError(f"the answer to {order_id} has {size:,} bytes, more than {LARGEST_ANSWER:,}: keep data elsewhere")
        return self._change(
            order_id,
            lambda work: msgspec.structs.replace(work, state=state, ended_at=wall_now(), answer=dict(answer)),
        )

    def _change(self, order_id: str, change: Callable[[Work], Work]) -> Work:
        while True:
            content, work = self._read(order_id)
            if content is None or work is None:
                raise UnknownOrderError(f"no order {order_id}")
            if work.ended:
                return work
            changed = change(work)
            if self._write(content, changed):
                return changed

    def _read(self, order_id: str) -> tuple[bytes | None, Work | None]:
        content = cast("bytes | None", self._redis.get(_ORDER_PREFIX + order_id))
        return content, None if content is None else msgspec.json.decode(content, type=Work)

    def _write(self, expected: bytes, work: Work) -> int | bytes:
        order = work.order
        answer: Any = self._redis.eval(
            _WRITE,
            3,
            _ORDER_PREFIX + order.id,
            _OPEN_KEY,
            _ENDED_KEY,
            order.id,
            expected,
            msgspec.json.encode(work),
            f"{order.model}:{order.kind}",
            int(work.ended),
            KEPT,
            _ORDER_PREFIX,
        )
        return cast("int | bytes", answer)
