"""The address of a version's newest drift report.

The responder writes it and `dojo drift show` reads it.
"""

from __future__ import annotations

from datetime import datetime

import msgspec
from redis import Redis

from dojo.core.state.documents import Document


class DriftReportLink(msgspec.Struct, frozen=True, kw_only=True):
    """A page that compares one window's predictions with the version's reference.

    Attributes:
        start: World time at which the window begins, inclusive.
        end: World time at which the window ends, exclusive.
        verdict: The event that asked for the page.
    """

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
