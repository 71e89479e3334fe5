"""Reads back what the event log holds of a stream, for a process that starts again."""

from __future__ import annotations

from collections.abc import Iterator

import structlog

from dojo.core.events.log import RedisEventLog
from dojo.core.events.streams import MalformedEventError, decode
from dojo.core.events.types import Event

log = structlog.get_logger()

# Messages per read.
_PAGE = 1000


def logged(event_log: RedisEventLog, stream: str) -> Iterator[Event]:
    """Yield the stream's events, the oldest first.

    Raises:
        redis.RedisError: The log is out of reach.
    """
    after = "0-0"
    while page := event_log.tail(stream, after, _PAGE):
        for delivery in page:
            try:
                yield decode(stream, delivery.payload)
            except MalformedEventError as error:  # the recorder sets it aside
                log.warning("no event", message=delivery.message_id, reason=str(error))
        after = page[-1].message_id
