"""The audit trail in Redis: who changed what, why, from what to what.

It is append-only, hash-chained and never trimmed.

    dojo:audit         stream; message id `<sequence>-0`, one field with the entry as JSON
    dojo:audit:head    sequence and hash of the newest entry
    dojo:audit:ids     hash: entry id -> sequence. It keeps a repeated record from a second entry

Each entry carries the hash of the one before. A changed, missing or inserted entry breaks the chain
where it stands. A cut-off end disagrees with the head. Only an anchor outside Redis shows that
everything behind a point was rewritten, the head too. Therefore every change of a champion writes
its entry's hash below the home and into the registry (`dojo/core/registry/promotion.py`).
`verify` compares with those hashes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast

import msgspec
from redis import Redis

from dojo.core.state.atomic import Check, Command, ConflictError, write_if
from dojo.core.state.clock import wall_now

STREAM_KEY = "dojo:audit"
HEAD_KEY = "dojo:audit:head"
IDS_KEY = "dojo:audit:ids"
FIELD = b"entry"

PAGE = 500  # entries read at a time: half a megabyte
GENESIS = "0" * 64  # what the first entry follows

Kind = Literal[
    "alias",
    "route",
    "gate",
    "rollout",
    "bandit",
    "approval",
    "retraining",
    "world",
    "response",
    "drift",
    "spec",
    "data",
    "registry",
    "incident",
]


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One change.

    Attributes:
        sequence: Number from 1, without gaps. The trail gives it.
        previous: Hash of the entry before. The trail gives it.
        entry_id: Chosen by the writer. A second append of the same id writes nothing.
        who: A person or process.
        what: The change in words.
        why: The reason given.
        before: State before the change, a small JSON value, None where there was none.
        after: State after the change, a small JSON value, None where there is none.
    """

    sequence: int = 0
    previous: str = GENESIS
    entry_id: str
    kind: Kind
    model: str
    who: str
    what: str
    why: str
    before: Any = None
    after: Any = None
    world_time: datetime | None = None
    wall_time: datetime = msgspec.field(default_factory=wall_now)

    @property
    def hash(self) -> str:
        """SHA-256 of the entry's bytes in the trail, hexadecimal."""
        return _hash(msgspec.json.encode(self))


class EntryAnchor(msgspec.Struct, frozen=True):
    """An entry's number and hash, kept outside Redis."""

    sequence: int
    hash: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify` found. No fault means that every entry is as it was written.

    Attributes:
        anchors: Number of entries that the registry remembers.
        recorded: Number of anchors that the platform wrote down itself.
        faults: One line per fault.
    """

    entries: int
    anchors: int
    recorded: int
    faults: tuple[str, ...]


class TrailEnd(msgspec.Struct, frozen=True):
    """The newest entry's number and hash, and the number of entries.

    Kept outside Redis, it shows a loss.
    """

    sequence: int = 0
    hash: str = GENESIS
    entries: int = 0


class _Head(msgspec.Struct, frozen=True):
    sequence: int = 0
    hash: str = GENESIS


class AuditTrail:
    """Appends to and reads the trail.

    Raises redis.RedisError when Redis is out of reach. A change that cannot be recorded must wait.
    """

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
        entry = Entry(
            entry_id=entry_id,
            kind=kind,
            model=model,
            who=who,
            what=what,
            why=why,
            before=before,
            after=after,
            world_time=world_time,
        )
        return self.record(entry)

    def record(
        self, entry: Entry, checks: Sequence[Check] = (), writes: Sequence[Command] = ()
    ) -> Entry | None:
        """Append an entry and write its change, in one step. Several processes may do so at once.

        Returns:
            The entry as readers will have it. None when its id was recorded before. Then nothing
            was written.

        Raises:
            ConflictError: A check failed, nothing was written.
        """
        while True:
            stored = cast("bytes | None", self._redis.get(HEAD_KEY))
            if self._redis.hexists(IDS_KEY, entry.entry_id):
                return None
            head = _decode_head(stored)
            content = msgspec.json.encode(
                msgspec.structs.replace(entry, sequence=head.sequence + 1, previous=head.hash)
            )
            failed = write_if(
                self._redis,
                [(("GET", HEAD_KEY), stored or b""), *checks],
                [
                    ("XADD", STREAM_KEY, f"{head.sequence + 1}-0", FIELD, content),
                    (
                        "SET",
                        HEAD_KEY,
                        msgspec.json.encode(_Head(head.sequence + 1, _hash(content))),
                    ),
                    ("HSET", IDS_KEY, entry.entry_id, head.sequence + 1),
                    *writes,
                ],
            )
            if failed is None:
                return msgspec.json.decode(content, type=Entry)
            if failed > 0:
                raise ConflictError(
                    f"{checks[failed - 1][0][1]!s} was changed meanwhile: read it again"
                )
            # The head moved: another process's entry comes first.

    def length(self) -> int:
        """Return the number of the newest entry, 0 before the first.

        While this number stays the same, an earlier reading of the trail is still true.
        """
        return _decode_head(cast("bytes | None", self._redis.get(HEAD_KEY))).sequence

    def end(self) -> TrailEnd:
        """Where the trail ends now."""
        head = _decode_head(cast("bytes | None", self._redis.get(HEAD_KEY)))
        return TrailEnd(head.sequence, head.hash, cast("int", self._redis.xlen(STREAM_KEY)))

    def holds(self, end: TrailEnd) -> bool:
        """Whether everything up to an earlier end is still there.

        The number of entries has not shrunk, and the entry at that end is unchanged.
        """
        now = self.end()
        if now.sequence < end.sequence or now.entries < end.entries:
            return False
        found = (
            self._redis.xrange(STREAM_KEY, f"{end.sequence}-0", f"{end.sequence}-0")
            if end.sequence
            else ()
        )
        return not end.sequence or any(
            _hash(fields.get(FIELD, b"")) == end.hash for _, fields in cast("list[Any]", found)
        )

    def go_on_after(self, end: TrailEnd) -> None:
        """Give the next entry the number after a lost end.

        Otherwise one number, and its anchor, could stand for two entries.
        """
        while True:
            stored = cast("bytes | None", self._redis.get(HEAD_KEY))
            if _decode_head(stored).sequence >= end.sequence:
                return
            head = msgspec.json.encode(_Head(end.sequence, end.hash))
            if (
                write_if(
                    self._redis, [(("GET", HEAD_KEY), stored or b"")], [("SET", HEAD_KEY, head)]
                )
                is None
            ):
                return

    def find(self, entry_id: str) -> Entry | None:
        """The entry that was recorded under an id, if any."""
        sequence = cast("bytes | None", self._redis.hget(IDS_KEY, entry_id))
        return self.get(int(sequence)) if sequence else None

    def newest_champion(self, model: str, since: int = 0) -> Entry | None:
        """Return the newest entry that names a model's champion, numbered above `since`."""
        for entry in self.entries(newest_first=True):
            if entry.sequence <= since:
                return None
            if entry.kind == "alias" and entry.model == model and "champion" in (entry.after or {}):
                return entry
        return None

    def get(self, sequence: int) -> Entry | None:
        """One entry by its number."""
        rows = cast("list[Any]", self._redis.xrange(STREAM_KEY, f"{sequence}-0", f"{sequence}-0"))
        return _decode(rows[0][1].get(FIELD, b"")) if rows else None

    def entries(self, newest_first: bool = False) -> Iterator[Entry]:
        """Every readable entry, page by page. `verify` reports the unreadable ones."""
        read = self._redis.xrevrange if newest_first else self._redis.xrange
        edge = "+" if newest_first else "-"
        while True:
            bounds = {"max": edge} if newest_first else {"min": edge}
            page = cast(
                "list[tuple[bytes, dict[bytes, bytes]]]", read(STREAM_KEY, count=PAGE, **bounds)
            )
            for _, fields in page:
                entry = _decode(fields.get(FIELD, b""))
                if entry is not None:
                    yield entry
            if len(page) < PAGE:
                return
            edge = "(" + page[-1][0].decode()

    def verify(
        self, anchors: Mapping[int, str] | None = None, recorded: Sequence[EntryAnchor] = ()
    ) -> Verification:
        """Check the whole chain. Other processes may append meanwhile.

        Args:
            anchors: Sequence -> hash, as the registry remembers them. A user of MLflow can change
                them.
            recorded: Anchors that the platform wrote down itself. They decide.
        """
        anchors = anchors or {}
        wanted = {*anchors, *(anchor.sequence for anchor in recorded)}
        faults: list[str] = []
        anchored: dict[int, str] = {}
        last, edge, count = _Head(), "-", 0
        while True:
            with self._redis.pipeline(
                transaction=True
            ) as pipe:  # one transaction, so that the trail's end, head and ids agree
                pipe.xrange(STREAM_KEY, min=edge, count=PAGE)
                pipe.get(HEAD_KEY)
                pipe.hlen(IDS_KEY)
                page, head_content, ids = pipe.execute()
            for message_id, fields in page:
                last, fault = _follow(last, message_id.decode(), fields.get(FIELD, b""))
                faults += [fault] if fault else []
                if last.sequence in wanted:
                    anchored[last.sequence] = last.hash
            count += len(page)
            if len(page) < PAGE:
                break
            edge = "(" + page[-1][0].decode()
        head = _decode_head(head_content)
        if head != last:
            faults.append(
                f"the newest entry is {last.sequence} ({last.hash[:12]}), the head says"
                f" {head.sequence} ({head.hash[:12]})"
            )
        if ids != count:
            faults.append(f"{count} entries are there, {ids} ids are marked as written")
        for own in recorded:
            if (found := anchored.get(own.sequence, "nothing")) != own.hash:
                faults.append(
                    f"entry {own.sequence}: the platform recorded {own.hash[:12]}, found"
                    f" {found[:12]}"
                )
        for sequence, anchor in sorted(anchors.items()):
            if (found := anchored.get(sequence, "nothing")) == anchor:
                continue
            if EntryAnchor(sequence, found) in recorded:
                faults.append(
                    f"entry {sequence}: its anchor in the registry was changed to {anchor[:12]};"
                    " the entry is as it was written"
                )
            else:
                faults.append(
                    f"entry {sequence}: the registry remembers {anchor[:12]}, found {found[:12]}"
                )
        return Verification(count, len(anchors), len(recorded), tuple(faults))


def _follow(last: _Head, message_id: str, content: bytes) -> tuple[_Head, str]:
    """Return the chain's end after one more message, and that message's fault ("" for none)."""
    expected = last.sequence + 1
    entry = _decode(content)
    if entry is None:
        return _Head(expected, _hash(content)), f"entry {message_id}: unreadable: {content[:60]!r}"
    end = _Head(entry.sequence, _hash(content))
    if message_id != f"{entry.sequence}-0":
        return end, f"entry {message_id}: says it is number {entry.sequence}"
    if entry.sequence > expected:
        missing = (
            f"entry {expected}"
            if entry.sequence == expected + 1
            else f"entries {expected} to {entry.sequence - 1}"
        )
        return end, f"{missing}: missing"
    if entry.sequence < expected:
        return end, f"entry {entry.sequence}: out of order, expected {expected}"
    if entry.previous != last.hash:
        return (
            end,
            (
                f"entry {entry.sequence}: does not follow entry {last.sequence} as it reads now:"
                " one of them was changed"
            ),
        )
    return end, ""


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _decode(content: bytes) -> Entry | None:
    try:
        return msgspec.json.decode(content, type=Entry)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _decode_head(content: bytes | None) -> _Head:
    return msgspec.json.decode(content, type=_Head) if content else _Head()
