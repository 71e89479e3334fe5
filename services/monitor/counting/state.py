"""The monitor's state in memory and in Redis: windows and the ids of their events.

    dojo:monitor:lease                          the monitor at work; expires when it is silent
    dojo:monitor:owner                          the last to take over; only its writes are accepted
    dojo:monitor:profile:<model>:<version>      the reference profile for counting the version
    dojo:monitor:windows:<model>:<version>      hash: "2025-01-06T09" -> CountedWindow, or
                                                "2025-01-06" for a day with all its hours merged
    dojo:monitor:labels:<model>                 hash: hour or day -> LabelWindow
    dojo:monitor:seen:<stream>:<hour>           8 bytes of each counted event's id. For an outcome,
                                                of its model and request
    dojo:monitor:versions                       set of "<model>:<version>"
    dojo:monitor:open_from                      the first hour that still takes events

Redis also carries the event log. Counts and the acknowledgement of their messages therefore change
in one transaction. After a kill, each message is either counted and acknowledged, or neither. After
any failure, `load` returns the true state.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any, Literal, cast

import msgspec
import numpy as np
import numpy.typing as npt
from redis import Redis
from redis.client import Pipeline
from redis.exceptions import WatchError

from dojo.core.events.log import PAGE, stream_key
from dojo.core.events.types import Stream
from dojo.core.registry.reference_profile import ReferenceProfile
from dojo.stats.histograms.bin_plan import BinPlan
from services.monitor.counting.windows import (
    LENGTH,
    CountedWindow,
    Kind,
    LabelWindow,
    floor,
    merged,
    plan_of,
)

GROUP = "monitor"
CONSUMER = "monitor"  # only one at a time, ensured by the lease

PREFIX = "dojo:monitor"
LEASE_KEY = f"{PREFIX}:lease"
OWNER_KEY = f"{PREFIX}:owner"
VERSIONS_KEY = f"{PREFIX}:versions"
OPEN_FROM_KEY = f"{PREFIX}:open_from"

# For this long after its hour (world time), late events count and repeated ones are recognised. The
# gateway's spool holds 15 minutes of full load. Three days are a weekend without Redis. An hour
# takes 7 kB, plus 8 bytes for each event.
HOURS_KEPT = timedelta(hours=72)

# Days are kept for a chart of two months, and as a sample of quiet windows. 7 kB each.
DAYS_KEPT = timedelta(days=60)

Key = tuple[str, str]  # model, version

# The version of answers by the spec's fallback (services/gateway/predictor.py). It has no profile.
NO_VERSION = "0"


class NotOwnerError(RuntimeError):
    """Another monitor writes. Nothing of this one was written."""


class MonitorMemory:
    """The monitor's copy of the state in Redis.

    Attributes:
        hours: (model, version) -> start -> CountedWindow.
        days: The same by day. A day appears once its hours are closed.
        label_hours: Model -> start -> LabelWindow of arriving labels.
        label_days: The same by day.
        seen: (stream, hour) -> sorted hashes of counted events. An outcome's hash is of its model
            and request.
        open_from: The first hour that takes events. None before the first closing.
    """

    def __init__(self) -> None:
        self.profiles: dict[Key, ReferenceProfile] = {}
        self.plans: dict[Key, BinPlan] = {}
        self.hours: dict[Key, dict[datetime, CountedWindow]] = {}
        self.days: dict[Key, dict[datetime, CountedWindow]] = {}
        self.label_hours: dict[str, dict[datetime, LabelWindow]] = {}
        self.label_days: dict[str, dict[datetime, LabelWindow]] = {}
        self.seen: dict[tuple[str, datetime], npt.NDArray[np.uint64]] = {}
        self.open_from: datetime | None = None

    def learn(self, key: Key, profile: ReferenceProfile) -> None:
        self.profiles[key] = profile
        self.plans[key] = plan_of(profile)

    def seen_of(self, stream: str) -> list[npt.NDArray[np.uint64]]:
        """A stream's counted events, by hour, of the hours that are kept."""
        return [hashes for (of, _), hashes in self.seen.items() if of == stream]

    def window(self, key: Key, kind: Kind, start: datetime) -> CountedWindow | None:
        """Return the version's answers of an hour or day, None without any."""
        if kind == "hour":
            return self.hours.get(key, {}).get(start)
        parts = [
            window
            for hour, window in self.hours.get(key, {}).items()
            if floor(hour, "day") == start
        ]
        closed = self.days.get(key, {}).get(start)
        return merged([*([closed] if closed else []), *parts]) if closed or parts else None

    def rows(self, key: Key, kind: Kind, start: datetime) -> int:
        """Return the number of the version's answers in an hour or day."""
        hours = self.hours.get(key, {})
        if kind == "hour":
            return hours[start].rows if start in hours else 0
        closed = self.days.get(key, {}).get(start)
        parts = (
            hours[hour].rows
            for back in range(24)
            if (hour := start + LENGTH["hour"] * back) in hours
        )
        return sum(parts) + (closed.rows if closed is not None else 0)

    def versions(self, model: str) -> list[Key]:
        """Return the model's versions with answers, including NO_VERSION where it had to answer."""
        return [key for key in {*self.hours, *self.days} if key[0] == model]

    def labels(self, model: str, kind: Kind, start: datetime) -> LabelWindow:
        """Return a model's labels that arrived in an hour or day."""
        hours, days = self.label_hours.get(model, {}), self.label_days.get(model, {})
        if kind == "hour":
            return hours.get(start, LabelWindow())
        total = LabelWindow(days[start].counts) if start in days else LabelWindow()
        for hour, window in hours.items():
            if floor(hour, "day") == start:
                total = LabelWindow(total.counts + window.counts)
        return total


class Store:
    """Reads and writes `MonitorMemory` in Redis.

    Every method raises `redis.RedisError` when Redis is out of reach.

    Args:
        owner: Name of this process.
        lease: Wall time of silence after which another process may take over.
    """

    def __init__(self, redis: Redis, owner: str, lease: timedelta = timedelta(seconds=5)) -> None:
        self._redis = redis
        self._owner = owner.encode()
        self._lease_ms = int(lease.total_seconds() * 1000)

    def acquire(self) -> Literal["ours", "new", "other"]:
        """Return whether this process may write.

        Returns:
            `ours` if it already had the right. `new` if it has just taken over. `other` if another
            monitor is at work. After `new`, load the state that others wrote.
        """
        if not self._redis.set(LEASE_KEY, self._owner, nx=True, px=self._lease_ms):
            if self._redis.get(LEASE_KEY) != self._owner:
                return "other"
            self._redis.pexpire(LEASE_KEY, self._lease_ms)
        if self._redis.get(OWNER_KEY) == self._owner:
            return "ours"
        self._redis.set(OWNER_KEY, self._owner)
        return "new"

    def release(self) -> None:
        """Give up the lease, so that another process can take over at once."""
        self.write(lambda pipe: pipe.delete(LEASE_KEY))

    def load(self) -> MonitorMemory:
        known = MonitorMemory()
        open_from = cast("bytes | None", self._redis.get(OPEN_FROM_KEY))
        known.open_from = _moment(open_from) if open_from else None
        for member in cast("set[bytes]", self._redis.smembers(VERSIONS_KEY)):
            model, version = member.decode().rsplit(":", 1)
            key = (model, version)
            stored = cast("bytes | None", self._redis.get(profile_key(key)))
            if stored is not None:
                known.learn(key, msgspec.json.decode(stored, type=ReferenceProfile))
            for field, content in cast(
                "dict[bytes, bytes]", self._redis.hgetall(windows_key(key))
            ).items():
                window = CountedWindow.from_bytes(content, known.plans.get(key))
                (known.hours if _is_hour(field) else known.days).setdefault(key, {})[
                    _moment(field)
                ] = window
        for name in cast(
            "list[bytes]", list(self._redis.scan_iter(f"{PREFIX}:labels:*", count=1000))
        ):
            model = name.decode().removeprefix(labels_key(""))
            for field, content in cast(
                "dict[bytes, bytes]", self._redis.hgetall(labels_key(model))
            ).items():
                table = known.label_hours if _is_hour(field) else known.label_days
                table.setdefault(model, {})[_moment(field)] = LabelWindow.from_bytes(content)
        for name in cast(
            "list[bytes]", list(self._redis.scan_iter(f"{PREFIX}:seen:*", count=1000))
        ):
            _, _, _, stream, hour = name.decode().split(":", 4)
            hashes = np.frombuffer(cast("bytes", self._redis.get(name) or b""), dtype="<u8")
            known.seen[Stream(stream), _moment(hour.encode())] = np.unique(hashes)
        return known

    def remember_profile(self, key: Key, profile: ReferenceProfile) -> None:
        self.write(
            lambda pipe: (
                pipe.set(profile_key(key), msgspec.json.encode(profile)),
                pipe.sadd(VERSIONS_KEY, ":".join(key)),
            )
        )

    def write(self, commands: Any) -> None:
        """Run `commands(pipeline)` in one transaction, if this process is still the owner.

        Raises:
            NotOwnerError: It is not. Nothing was written.
        """
        with self._redis.pipeline(transaction=True) as pipe:
            try:
                pipe.watch(OWNER_KEY)  # type: ignore[no-untyped-call]
                if pipe.get(OWNER_KEY) != self._owner:
                    raise NotOwnerError("another monitor has taken over")
                pipe.multi()
                pipe.set(LEASE_KEY, self._owner, px=self._lease_ms)
                commands(pipe)
                pipe.execute()
            except WatchError as error:
                raise NotOwnerError("another monitor is taking over") from error


def save_predictions(
    pipe: Pipeline,
    known: MonitorMemory,
    changed: Iterable[tuple[Key, datetime]],
    new: dict[datetime, npt.NDArray[np.uint64]],
) -> None:
    for key, hour in changed:
        pipe.hset(
            windows_key(key), mapping={field_of(hour, "hour"): known.hours[key][hour].to_bytes()}
        )
        pipe.sadd(VERSIONS_KEY, ":".join(key))
    _save_seen(pipe, Stream.PREDICTIONS, new)


def save_labels(
    pipe: Pipeline,
    known: MonitorMemory,
    changed: Iterable[tuple[str, datetime]],
    new: dict[datetime, npt.NDArray[np.uint64]],
) -> None:
    for model, hour in changed:
        pipe.hset(
            labels_key(model),
            mapping={field_of(hour, "hour"): known.label_hours[model][hour].to_bytes()},
        )
    _save_seen(pipe, Stream.OUTCOMES, new)


def acknowledge(pipe: Pipeline, stream: str, message_ids: Sequence[str]) -> None:
    for first in range(0, len(message_ids), PAGE):
        pipe.xack(stream_key(stream), GROUP, *message_ids[first : first + PAGE])


def short_hash(event_id: str) -> int:
    """Return 64 bits of an event's id.

    Among a million ids in an hour, two collide with a probability of 3e-8.
    """
    return int.from_bytes(blake2b(event_id.encode(), digest_size=8).digest(), "little")


def profile_key(key: Key) -> str:
    return f"{PREFIX}:profile:{key[0]}:{key[1]}"


def windows_key(key: Key) -> str:
    return f"{PREFIX}:windows:{key[0]}:{key[1]}"


def labels_key(model: str) -> str:
    return f"{PREFIX}:labels:{model}"


def _save_seen(pipe: Pipeline, stream: str, new: dict[datetime, npt.NDArray[np.uint64]]) -> None:
    for hour, hashes in new.items():
        pipe.append(seen_key(stream, hour), hashes.astype("<u8").tobytes())


def seen_key(stream: str, hour: datetime) -> str:
    return f"{PREFIX}:seen:{stream}:{field_of(hour, 'hour')}"


def field_of(start: datetime, kind: Kind) -> str:
    return f"{start:%Y-%m-%dT%H}" if kind == "hour" else f"{start:%Y-%m-%d}"


def _is_hour(field: bytes) -> bool:
    return b"T" in field


def _moment(field: bytes) -> datetime:
    text = field.decode()
    return datetime.strptime(text, "%Y-%m-%dT%H" if "T" in text else "%Y-%m-%d").replace(tzinfo=UTC)
