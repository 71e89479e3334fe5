"""One dropped connection of a service to the online store, while the store takes no new ones."""

from __future__ import annotations

import time
from typing import Any, Literal, cast

import psutil

from dojo.core.settings import Settings
from dojo.core.spec.section import Text
from dojo.drills.faults.fault import FaultRefusedError, Injection, Receipt, WriteDown

# Another fault fills the store meanwhile. Wall time.
FULL_SECONDS = 30.0


class DroppedClient(Injection):
    """The connections of one process, dropped once. It connects again as soon as it may.

    Attributes:
        process: Its name in the stack.
    """

    kind: Literal["dropped_client"]
    process: Text

    def inject(self, settings: Settings, write_down: WriteDown) -> None:
        from dojo.core.connections import connect_redis  # late, as in the other faults
        from dojo.stack.control import process_of

        process = process_of(settings.home, self.process)
        if process is None:
            raise FaultRefusedError(f"{self.process} does not run")
        write_down({})
        store = connect_redis(settings.online_store)
        kept: Any = store.connection_pool.get_connection()  # before the store is full
        try:
            _wait_until_full(kept)
            for address in _addresses(process, settings):
                kept.send_command("CLIENT", "KILL", "ADDR", address)
                kept.read_response()
        finally:
            kept.disconnect()

    def undo(self, settings: Settings, receipt: Receipt) -> None:
        """Nothing is left of it."""

    def left(self, settings: Settings, receipt: Receipt) -> str:
        return ""


def _wait_until_full(connection: Any) -> None:
    end = time.monotonic() + FULL_SECONDS
    while True:
        connection.send_command("INFO", "clients")
        told = cast("bytes | str", connection.read_response())
        text = told.decode() if isinstance(told, bytes) else told
        found = dict(line.split(":", 1) for line in text.split() if ":" in line)
        if int(found["connected_clients"]) >= int(found["maxclients"]):
            return
        if time.monotonic() > end:
            raise FaultRefusedError(f"the online store is not full after {FULL_SECONDS:g} s")
        time.sleep(0.2)


def _addresses(process: psutil.Process, settings: Settings) -> list[str]:
    """Return the process's own addresses of its connections to the online store."""
    from urllib.parse import urlsplit

    port = urlsplit(settings.online_store).port
    return [
        f"{one.laddr.ip}:{one.laddr.port}"
        for one in process.net_connections("tcp")
        if one.raddr and one.raddr.port == port
    ]
