"""Where the newest drift report of a version is: written by the responder, read by `dojo drift show`."""

from __future__ import annotations

from datetime import datetime

import msgspec
from redis import Redis

from dojo.core.state.documents import Document


class DriftReportLink(msgspec.Struct, frozen=True, kw_only=True):
    """A page that compares the predictions of start <= world time < end with the version's reference. `verdict`: the event that asked for it."""

    model: str
    version: str
    url: str
    start: datetime
    end: datetime
    verdict: str


def drift_report(redis: Redis, model: str, version: str) -> Document[DriftReportLink]:
    return Document(
        redis, "dojo:drift:report:{model}:{version}", DriftReportLink, model=model, version=version
    )
