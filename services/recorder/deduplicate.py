"""Which events are new: their identities beside those in the day's partition.

An identity is the event's id. It is a tuple where the event's type has more fields in it
(`Event.identity`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, field
from datetime import date
from operator import attrgetter
from pathlib import Path

from dojo.core.events.streams import EVENT_TYPES
from dojo.core.events.types import Event
from dojo.core.lake import Lake

# Identities kept in memory over all partitions, 130 to 320 bytes each, so 65 to 160 MB. Streams
# write to today's partition, and late events to a few before. So the partitions that fall out get
# no more events. They are read again if an event comes after all.
MAXIMUM_IDS = 500_000

# Name, inode, size and modification time (ns) of a file. A replaced file is another file.
_FileState = tuple[str, int, int, int]


@dataclass(frozen=True, slots=True)
class Received:
    """An event, the message that carried it, and the day (UTC) whose partition it belongs to."""

    message_id: str
    event: Event
    day: date


def identity_of(event: Event) -> Hashable:
    """What all repetitions of an event share, and no other event has."""
    identity: Hashable = attrgetter(*event.identity)(event)
    return identity


def new_events(received: Sequence[Received], known: Collection[Hashable]) -> list[Received]:
    """Received events with an identity that is not in `known`, the first of each, in order."""
    first: dict[Hashable, Received] = {}
    for one in received:
        if (identity := identity_of(one.event)) not in known:
            first.setdefault(identity, one)
    return list(first.values())


@dataclass
class _Partition:
    files: frozenset[_FileState] = frozenset()
    ids: set[Hashable] = field(default_factory=set)


class PartitionIds:
    """The identities of each partition's events, read from its files on first use.

    Other processes write to the lake too (history is bulk-written). So each look compares the
    partition's files with the files that were read. New files are added. When a file is gone or
    replaced, the partition is read anew.
    """

    def __init__(self, lake: Lake, maximum: int = MAXIMUM_IDS) -> None:
        self._lake = lake
        self._maximum = maximum
        self._partitions: OrderedDict[tuple[str, date], _Partition] = OrderedDict()

    def of(self, stream: str, day: date) -> Collection[Hashable]:
        """The identities in a partition now.

        Raises OSError or polars' errors when a file cannot be read.
        """
        partition = self._partitions.get((stream, day), _Partition())
        files = _files(self._lake.partition(stream, day))
        if partition.files - files:
            partition = _Partition()
        added = [
            self._lake.partition(stream, day) / state[0]
            for state in sorted(files - partition.files)
        ]
        if added:
            rows = (
                self._lake.scan(stream, files=added).select(EVENT_TYPES[stream].identity).collect()
            )
            partition.ids.update(rows.to_series() if rows.width == 1 else rows.iter_rows())
            partition.files = files
        self._keep(stream, day, partition)
        return partition.ids

    def wrote(self, stream: str, day: date, file: Path, identities: Sequence[Hashable]) -> None:
        """Note our own file, so that its identities need not be read back."""
        partition = self._partitions[stream, day]
        partition.ids.update(identities)
        partition.files |= {_state(file)}
        self._keep(stream, day, partition)

    def _keep(self, stream: str, day: date, partition: _Partition) -> None:
        self._partitions[stream, day] = partition
        self._partitions.move_to_end((stream, day))
        while (
            len(self._partitions) > 1
            and sum(len(p.ids) for p in self._partitions.values()) > self._maximum
        ):
            self._partitions.popitem(last=False)


def _files(directory: Path) -> frozenset[_FileState]:
    return frozenset(_state(path) for path in directory.glob("*.parquet"))


def _state(path: Path) -> _FileState:
    status = path.stat()
    return path.name, status.st_ino, status.st_size, status.st_mtime_ns
