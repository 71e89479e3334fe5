"""Where the newest drift report of a version is: written by the responder, read by `dojo drift show`.

dojo:drift:report:<model>:<version>    a `DriftReportLink` as JSON
"""

from __future__ import annotations

from datetime import datetime
from typing import cast

import msgspec
from redis import Redis


class DriftReportLink(msgspec.Struct, frozen=True, kw_only=True):
    """A page that compares the predictions of start <= world time < end with the version's reference. `verdict`: the event that asked for it."""

    model: str
    version: str
    url: str
    start: datetime
    end: datetime
    verdict: str


def record_report(redis: Redis, report: DriftReportLink) -> None:
    """Raises redis.RedisError."""
    redis.set(_key(report.model, report.version), msgspec.json.encode(report))


def read_report(redis: Redis, model: str, version: str) -> DriftReportLink | None:
    """The newest one, None before the first. Raises redis.RedisError."""
    content = cast("bytes | None", redis.get(_key(model, version)))
    return None if content is None else msgspec.json.decode(content, type=DriftReportLink)


def _key(model: str, version: str) -> str:
    return f"dojo:drift:report:{model}:{version}"
