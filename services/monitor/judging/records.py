"""The record of judgements, for people and restarts.

    dojo:monitor:judged
        hash: "<model>|<version>|<kind>|<start>" -> judged rows
    dojo:monitor:verdicts:<model>
        hash: "<check>|<window>|<version>" -> latest Verdict
    dojo:monitor:history:<model>:<check>:<window>
        list, newest first: measurements per judged window
    dojo:monitor:troubles:<model>
        list, newest first: verdicts of warning and worse

One transaction writes a window's verdicts, their events and the mark that it was judged. So no
verdict is told twice or forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import cast

import msgspec
from redis import Redis
from redis.client import Pipeline

from dojo.core.events.log import PAYLOAD_FIELD, stream_key
from dojo.core.events.streams import encode
from dojo.core.events.types import Check, Stream, Verdict
from dojo.core.judging.drift import Measurements
from dojo.core.severity import Severity
from dojo.core.state.verdict_marks import troubles_key
from services.monitor.counting.state import PREFIX
from services.monitor.judging.verdicts import TROUBLE, is_news

JUDGED_KEY = f"{PREFIX}:judged"

# Charts and `dojo drift tune` need a week of hours and two months of days. 2 kB each.
HISTORY_KEPT: dict[str, int] = {"hour": 168, "day": 60, "now": 168}
TROUBLES_KEPT = 500

WindowKey = tuple[str, str, str, datetime]  # model, version or "@<what>", kind, start


class Measure(msgspec.Struct, frozen=True, array_like=True):
    """A subject's value, and the noise that chance can reach."""

    value: float | None
    noise: float | None


class HistoryRow(msgspec.Struct, frozen=True):
    """The measurements of one check over one window of one version."""

    start: datetime
    version: str
    severity: Severity
    rows: int
    values: dict[str, Measure]


class Judged(msgspec.Struct, frozen=True):
    """One judged check of a window, ready to be written.

    Attributes:
        news: Whether it goes to the event log.
        late: Whether later windows were judged before. It then only corrects the history.
    """

    verdict: Verdict
    measured: Measurements
    news: bool
    late: bool = False


def judgement(
    verdict: Verdict, measured: Measurements, previous: Verdict | None, late: bool
) -> Judged:
    """Return a judged check.

    Args:
        previous: The verdict of the same check over the window before. None when `late`, because
            an old window can no longer begin or end an incident.
    """
    return Judged(verdict, measured, not late and is_news(verdict, previous), late)


class MonitorRecords:
    """The records in Redis. Every method raises `redis.RedisError` when Redis is out of reach."""

    def __init__(self, redis: Redis, max_stream_length: int) -> None:
        self._redis = redis
        self._max_stream_length = max_stream_length

    def judged(self) -> dict[WindowKey, int]:
        rows = cast("dict[bytes, bytes]", self._redis.hgetall(JUDGED_KEY))
        found = {}
        for field, count in rows.items():
            model, version, kind, start = field.decode().split("|")
            found[model, version, kind, datetime.fromisoformat(start)] = int(count)
        return found

    def latest(self, model: str) -> dict[tuple[Check, str, str], Verdict]:
        """Return (check, window, version) -> the latest verdict."""
        rows = cast("dict[bytes, bytes]", self._redis.hgetall(verdicts_key(model)))
        verdicts = [msgspec.json.decode(content, type=Verdict) for content in rows.values()]
        return {(verdict.check, verdict.window, verdict.version): verdict for verdict in verdicts}

    def history(
        self, model: str, check: Check, window: str, limit: int | None = None
    ) -> list[HistoryRow]:
        """Return measurements, oldest first. The last judgement of a window counts."""
        rows = cast(
            "list[bytes]",
            self._redis.lrange(
                history_key(model, check, window), 0, (limit or HISTORY_KEPT[window]) - 1
            ),
        )
        newest: dict[tuple[datetime, str], HistoryRow] = {}
        for row in (msgspec.json.decode(content, type=HistoryRow) for content in rows):
            newest.setdefault((row.start, row.version), row)
        return sorted(newest.values(), key=lambda row: row.start)

    def write(
        self, pipe: Pipeline, done: Sequence[Judged], spots: Iterable[tuple[WindowKey, int]]
    ) -> None:
        """Add everything about judged windows to a transaction."""
        for one in done:
            verdict, content = one.verdict, msgspec.json.encode(one.verdict)
            if one.news:
                pipe.xadd(
                    stream_key(Stream.VERDICTS),
                    {PAYLOAD_FIELD: encode(verdict)},
                    maxlen=self._max_stream_length,
                    approximate=True,
                )
            if one.news and verdict.severity in TROUBLE:
                pipe.lpush(troubles_key(verdict.model), content)
                pipe.ltrim(troubles_key(verdict.model), 0, TROUBLES_KEPT - 1)
            field = f"{verdict.check}|{verdict.window}|{verdict.version}"
            if not one.late:
                pipe.hset(verdicts_key(verdict.model), mapping={field: content})
            key = history_key(verdict.model, verdict.check, verdict.window)
            values = {name: Measure(m.value, m.noise) for name, m in one.measured.items()}
            row = HistoryRow(
                verdict.window_start, verdict.version, verdict.severity, verdict.rows, values
            )
            pipe.lpush(key, msgspec.json.encode(row))
            pipe.ltrim(key, 0, HISTORY_KEPT[verdict.window] - 1)
        for spot, rows in spots:
            pipe.hset(JUDGED_KEY, mapping={_spot_field(spot): rows})

    def forget(self, spots: Sequence[WindowKey], verdicts: Sequence[Verdict]) -> None:
        """Forget windows that are no longer kept, and verdicts of versions without traffic."""
        with self._redis.pipeline(transaction=True) as pipe:
            if spots:
                pipe.hdel(JUDGED_KEY, *(_spot_field(spot) for spot in spots))
            for verdict in verdicts:
                pipe.hdel(
                    verdicts_key(verdict.model),
                    f"{verdict.check}|{verdict.window}|{verdict.version}",
                )
            pipe.execute()


def verdicts_key(model: str) -> str:
    return f"{PREFIX}:verdicts:{model}"


def history_key(model: str, check: Check, window: str) -> str:
    return f"{PREFIX}:history:{model}:{check}:{window}"


def _spot_field(spot: WindowKey) -> str:
    return f"{spot[0]}|{spot[1]}|{spot[2]}|{spot[3].isoformat()}"
