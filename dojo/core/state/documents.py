"""Documents: typed JSON values in Redis that several processes change, each under one key.

A writer reads a document with its revision, decides, and replaces it. When another process was
faster, the writer gets a `ConflictError`, and nothing was written. Value, audit entry and
everything else that belongs to the change are one atomic write.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, NewType, TypeVar, cast

import msgspec
from redis import Redis

from dojo.core.state.atomic import Check, Command, ConflictError, write_if
from dojo.core.state.audit import AuditTrail, Entry

T = TypeVar("T")

# The stored bytes. Any change of a document, also with redis-cli, changes its revision.
# b"" is no document.
Revision = NewType("Revision", bytes)

# Every family of document keys, with its content and its writers.
FAMILIES = {
    "dojo:bandit:{model}": "Bandit: the model's latest. Rollout controller, `dojo bandit`.",
    "dojo:clock": (
        "Anchor: world time and its speed. The simulator renews it, `dojo world` changes it."
    ),
    "dojo:drift:report:{model}:{version}": (
        "DriftReportLink: a version's newest drift report. Responder."
    ),
    "dojo:registry:faults:{model}": (
        "RegistryFaults: what was changed in MLflow past the platform. Monitor."
    ),
    "dojo:incidents": "Handled: who has which incident, by its id. `dojo incidents`.",
    "dojo:loss": "RedisLoss: state that Redis has lost. Responder, `dojo restore`.",
    "dojo:responder:control": "Control: kill switch and dry run. `dojo responder`.",
    "dojo:responder:{model}": "ModelState: open incidents and the action under way. Responder.",
    "dojo:rollout:{model}": "Rollout: the model's latest. Gate, controller, `dojo rollout`.",
    "dojo:route:{model}": (
        "Route: which versions answer. `dojo/core/registry/promotion.py` for all."
    ),
    "dojo:skew:{model}": "SkewMeasurement: the latest world day. Materializer.",
    "dojo:spec:{model}": (
        "AppliedSpec: the spec that took effect last. `dojo config apply`, trainer."
    ),
    "dojo:work:order:{id}": "Work: an order and its answer. Responder places, trainer executes.",
    "dojo:world:cursor": "Cursor: up to where the world was lived. Simulator.",
    "dojo:world:drift": (
        "ActiveDrift, a list: drift that people cause. `dojo world drift`, simulator."
    ),
    "dojo:world:promise": "Cursor: up to where the batch under way reaches. Simulator.",
}


def document_key(family: str, **names: str) -> str:
    """The key of one of FAMILIES, with `names` in its braces."""
    assert family in FAMILIES, f"{family} is missing in the table of documents"
    return family.format(**names)


@dataclass(frozen=True, slots=True)
class Stored(Generic[T]):
    """A document as it was read. `value` is None while there is none."""

    value: T | None
    revision: Revision


class Document(Generic[T]):
    """One document. Every method raises redis.RedisError when Redis is out of reach.

    Args:
        family: One of FAMILIES.
        kind: The type of the value.
        names: Values for the family's braces.
    """

    def __init__(self, redis: Redis, family: str, kind: type[T], **names: str) -> None:
        self.key = document_key(family, **names)
        self._redis = redis
        self._kind = kind

    def read(self) -> Stored[T]:
        """Raises msgspec.MsgspecError when something else is stored."""
        content = cast("bytes | None", self._redis.get(self.key))
        if content is None:
            return Stored(None, Revision(b""))
        return Stored(msgspec.json.decode(content, type=self._kind), Revision(content))

    def get(self) -> T | None:
        """The value alone, for a caller that only reads."""
        return self.read().value

    def put(self, value: T) -> None:
        """Write without a look at what is stored.

        For a document with one writer, or where the latest value is right.
        """
        self._redis.set(self.key, msgspec.json.encode(value))

    def put_again(self, value: T) -> bool:
        """Write only when the document exists. False when it does not, and nothing was written."""
        return bool(self._redis.set(self.key, msgspec.json.encode(value), xx=True))

    def replace(
        self,
        expected: Revision,
        value: T,
        audit: Entry | None = None,
        checks: Sequence[Check] = (),
        writes: Sequence[Command] = (),
    ) -> None:
        """Write a value in place of the revision that was read.

        Args:
            audit: The change's entry in the audit trail.
            checks: What else must be true.
            writes: What else changes with it.

        Raises:
            ConflictError: The document was changed meanwhile, a check failed, or the entry was
                recorded before. Nothing was written.
        """
        self._change(expected, ("SET", self.key, msgspec.json.encode(value)), audit, checks, writes)

    def remove(self, expected: Revision, audit: Entry) -> None:
        """Delete the revision that was read, and record it.

        Raises ConflictError when nothing was written.
        """
        self._change(expected, ("DEL", self.key), audit, (), ())

    def _change(
        self,
        expected: Revision,
        write: Command,
        audit: Entry | None,
        checks: Sequence[Check],
        writes: Sequence[Command],
    ) -> None:
        checks = [(("GET", self.key), expected), *checks]
        writes = [write, *writes]
        if audit is None:
            written = write_if(self._redis, checks, writes) is None
        else:
            written = AuditTrail(self._redis).record(audit, checks, writes) is not None
        if not written:
            raise ConflictError(f"{self.key} was changed meanwhile: read it again")
