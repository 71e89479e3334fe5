"""Batches of encoded events as Redis commands. The common part is prepared once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dojo.core.events.log import PAYLOAD_FIELD, stream_key
from services.gateway.features.redis_client import command


def appends(stream: str, max_length: int) -> Callable[[Sequence[bytes]], bytes]:
    """Return a function from encoded events to the commands that append them to `stream`.

    Each command gives one reply. The stream keeps about `max_length` events.
    """
    arguments = (
        b"XADD",
        stream_key(stream).encode(),
        b"MAXLEN",
        b"~",
        str(max_length).encode(),
        b"*",
        PAYLOAD_FIELD,
    )
    head = command(*arguments).replace(
        b"*7\r\n", b"*8\r\n", 1
    )  # the payload is the eighth argument

    def commands(events: Sequence[bytes]) -> bytes:
        return b"".join([b"%b$%d\r\n%b\r\n" % (head, len(event), event) for event in events])

    return commands
