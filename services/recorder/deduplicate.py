"""Which events are new: event ids against those that the day's partition already holds."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from dojo.core.events.types import Event, Stream
from dojo.core.lake import Lake

# Ids kept in memory over all partitions; about 130 bytes each, so 65 MB. Streams write to today's partition, late ones
# to a few before: partitions that fall out are those nobody writes to, and are read again if somebody does.
MAXIMUM_IDS = 500_000

# Name, inode, size and modification time (ns) of a file: a replaced file is another file.
_FileState = tuple[str, int, int, int]


@dataclass(frozen=True, slots=True)
class Received:
    """An event, the message that carried it, and the day (UTC) whose partition it belongs to."""

    message_id: str
    event: Event
    day: date


def new_events(received: Sequence[Received], known: Collection[str]) -> list[Received]:
    """Those whose event id is not in `known`, the first of each id, in order."""
    first: dict[str, Received] = {}
    for one in received:
        if one.event.event_id not in known:
            first.setdefault(one.event.event_id, one)
    return list(first.values())


@dataclass
class _Partition:
    files: frozenset[_FileState] = frozenset()
    ids: set[str] = field(default_factory=set)


class PartitionIds:
    """The event ids of each partition, read from its files on first use.

    Others write to the lake too (history is bulk-written), so each look compares the partition's files with those read:
    new ones are added, and when one is gone or replaced the partition is read anew.
    """

    def __init__(self, lake: Lake, maximum: int = MAXIMUM_IDS) -> None:
        self._lake = lake
        self._maximum = maximum
        self._partitions: OrderedDict[tuple[Stream, date], _Partition] = OrderedDict()

    def of(self, stream: Stream, day: date) -> Collection[str]:
        """The ids in a partition now. Raises OSError or polars' errors when a file cannot be read."""
        partition = self._partitions.get((stream, day), _Partition())
        files = _files(self._lake.partition(stream, day))
        if partition.files - files:
            partition = _Partition()
        added = [self._lake.partition(stream, day) / state[0] for state in sorted(files - partition.files)]
        if added:
            column = self._lake.scan(stream, files=added).select("event_id").collect()["event_id"]
            partition.ids.update(column)
            partition.files = files
        self._keep(stream, day, partition)
        return partition.ids

    def wrote(self, stream: Stream, day: date, file: Path, event_ids: Sequence[str]) -> None:
        """Our own file, whose ids we need not read back."""
        partition = self._partitions[stream, day]
        partition.ids.update(event_ids)
        partition.files |= {_state(file)}
        self._keep(stream, day, partition)

    def _keep(self, stream: Stream, day: date, partition: _Partition) -> None:
        self._partitions[stream, day] = partition
        self._partitions.move_to_end((stream, day))
        while len(self._partitions) > 1 and sum(len(p.ids) for p in self._partitions.values()) > self._maximum:
            self._partitions.popitem(last=False)


def _files(directory: Path) -> frozenset[_FileState]:
    return frozenset(_state(path) for path in directory.glob("*.parquet"))


def _state(path: Path) -> _FileState:
    status = path.stat()
    return path.name, status.st_ino, status.st_size, status.st_mtime_ns
