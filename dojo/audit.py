"""The audit trail: who changed what, why, from what to what. Append-only and hash-chained, in Redis, never trimmed.

    dojo:audit         stream; message id `<sequence>-0`, one field with the entry as JSON
    dojo:audit:head    sequence and hash of the newest entry
    dojo:audit:ids     entry ids that were written, so that repeating a change's record writes it once

Each entry carries the hash of the one before. A changed, missing or inserted entry breaks the chain where it stands, and a cut-off
end disagrees with the head. Somebody who rewrites everything behind a point and the head too is found only by an anchor outside
Redis: every promotion writes its entry's hash into the registry (tag `audit`), which `verify` compares.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Literal, cast

import msgspec
from redis import Redis
from redis.exceptions import WatchError

from dojo.clock import wall_now

STREAM_KEY = "dojo:audit"
HEAD_KEY = "dojo:audit:head"
IDS_KEY = "dojo:audit:ids"
FIELD = b"entry"

PAGE = 500  # entries read at a time: half a megabyte
GENESIS = "0" * 64  # what the first entry follows

Kind = Literal["alias", "route", "gate", "rollout", "approval", "retraining"]


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One change.

    Attributes:
        sequence: from 1, without gaps. `previous`: the hash of the entry before.
        entry_id: chosen by the writer; a second append of the same id writes nothing.
        who: a person or process. `what`: the change in words. `why`: the reason given.
        before, after: the state on both sides, small JSON values; None where there was none.
    """

    sequence: int
    previous: str
    entry_id: str
    kind: Kind
    model: str
    who: str
    what: str
    why: str
    before: Any
    after: Any
    world_time: datetime | None
    wall_time: datetime

    @property
    def hash(self) -> str:
        """SHA-256 of the entry's JSON with sorted keys, hexadecimal."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()


class _Head(msgspec.Struct, frozen=True):
    sequence: int = 0
    hash: str = GENESIS


class AuditTrail:
    """Appends to and reads the trail. Raises redis.RedisError when it is out of reach: a change that cannot be recorded must wait."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def append(
        self,
        *,
        entry_id: str,
        kind: Kind,
        model: str,
        who: str,
        what: str,
        why: str,
        before: Any = None,
        after: Any = None,
        world_time: datetime | None = None,
    ) -> Entry | None:
        """Record a change. Returns the entry, or None when `entry_id` was recorded before."""
        with self._redis.pipeline() as pipe:
            while True:
                try:
                    pipe.watch(HEAD_KEY, IDS_KEY)  # type: ignore[no-untyped-call]
                    if pipe.sismember(IDS_KEY, entry_id):
                        return None
                    head = _decode_head(cast("bytes | None", pipe.get(HEAD_KEY)))
                    entry = Entry(
                        sequence=head.sequence + 1,
                        previous=head.hash,
                        entry_id=entry_id,
                        kind=kind,
                        model=model,
                        who=who,
                        what=what,
                        why=why,
                        before=before,
                        after=after,
                        world_time=world_time,
                        wall_time=wall_now(),
                    )
                    entry = msgspec.json.decode(msgspec.json.encode(entry), type=Entry)  # as readers will have it
                    pipe.multi()
                    pipe.xadd(STREAM_KEY, {FIELD: msgspec.json.encode(entry)}, id=f"{entry.sequence}-0")
                    pipe.set(HEAD_KEY, msgspec.json.encode(_Head(entry.sequence, entry.hash)))
                    pipe.sadd(IDS_KEY, entry_id)
                    pipe.execute()
                    return entry
                except WatchError:
                    continue  # somebody else appended: their entry comes first

    def entries(self, newest_first: bool = False) -> Iterator[Entry]:
        """Every readable entry, page by page; unreadable ones are `verify`'s to report."""
        for _, content in self._messages(newest_first):
            try:
                yield msgspec.json.decode(content, type=Entry)
            except msgspec.MsgspecError:
                continue

    def verify(self, anchors: Mapping[int, str] | None = None) -> list[str]:
        """Check the whole chain. Returns one line per fault; empty means every entry is as it was written.

        Args:
            anchors: sequence -> hash, as the registry remembers them.
        """
        faults: list[str] = []
        last = _Head()
        hashes: dict[int, str] = {}
        for message_id, content in self._messages():
            expected = last.sequence + 1
            try:
                entry = msgspec.json.decode(content, type=Entry)
            except msgspec.MsgspecError as error:
                faults.append(f"entry {message_id}: unreadable: {error}")
                last = _Head(expected, "")
                continue
            if message_id != f"{entry.sequence}-0":
                faults.append(f"entry {message_id}: says it is number {entry.sequence}")
            if entry.sequence != expected:
                faults.append(f"entries {expected} to {entry.sequence - 1}: missing" if entry.sequence > expected else
                              f"entry {entry.sequence}: out of order, expected {expected}")  # fmt: skip
            elif entry.previous != last.hash:
                faults.append(
                    f"entry {entry.sequence}: does not follow entry {last.sequence} as it reads now: one of them was changed"
                )
            last = _Head(entry.sequence, entry.hash)
            hashes[entry.sequence] = entry.hash
        head = _decode_head(cast("bytes | None", self._redis.get(HEAD_KEY)))
        if head != last:
            faults.append(
                f"the newest entry is {last.sequence} ({last.hash[:12]}), the head says {head.sequence} ({head.hash[:12]})"
            )
        for sequence, anchor in sorted((anchors or {}).items()):
            if hashes.get(sequence) != anchor:
                faults.append(
                    f"entry {sequence}: the registry remembers {anchor[:12]}, found {hashes.get(sequence, 'nothing')[:12]}"
                )
        return faults

    def _messages(self, newest_first: bool = False) -> Iterator[tuple[str, bytes]]:
        read = self._redis.xrevrange if newest_first else self._redis.xrange
        edge = "+" if newest_first else "-"
        while True:
            bounds = {"max": edge} if newest_first else {"min": edge}
            page = cast("list[tuple[bytes, dict[bytes, bytes]]]", read(STREAM_KEY, count=PAGE, **bounds))
            for message_id, fields in page:
                yield message_id.decode(), fields.get(FIELD, b"")
            if len(page) < PAGE:
                return
            edge = "(" + page[-1][0].decode()


def _decode_head(content: bytes | None) -> _Head:
    return _Head() if content is None else msgspec.json.decode(content, type=_Head)
