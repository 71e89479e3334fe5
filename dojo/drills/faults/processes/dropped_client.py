"""Dropped connections of a service to the online store, while the store takes no new ones."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from typing import Any, Literal, cast

import psutil

from dojo.core.settings import Settings
from dojo.core.spec.section import Text
from dojo.drills.faults.fault import FaultRefusedError, Injection, Receipt, WriteDown
from dojo.drills.faults.processes.service import running_service

# Another fault fills the store meanwhile. Wall time.
FULL_SECONDS = 30.0


class DroppedClient(Injection):
    """The connections of one process, dropped once. It connects again as soon as it may.

    The process is held for a moment, so that another client takes the free places first.

    Attributes:
        process: Its name in the stack.
    """

    kind: Literal["dropped_client"]
    process: Text

    def inject(self, settings: Settings, write_down: WriteDown) -> None:
        from dojo.core.connections import connect_redis  # late, as in the other faults

        process = running_service(settings, self.process)
        write_down({})
        with closing(connect_redis(settings.online_store)) as store:
            kept: Any = store.connection_pool.get_connection()  # before the store is full
            _wait_until(lambda: _is_full(kept))
            process.suspend()
            try:
                for address in _addresses(process, settings):
                    kept.send_command("CLIENT", "KILL", "ADDR", address)
                    kept.read_response()
                kept.disconnect()
                _wait_until(lambda: _refuses(settings.online_store))
            finally:
                process.resume()

    def undo(self, settings: Settings, receipt: Receipt) -> None:
        """Let the process go on, where an injection was killed in the middle."""
        from dojo.stack.control import process_of

        if (process := process_of(settings.home, self.process)) is not None:
            process.resume()

    def left(self, settings: Settings, receipt: Receipt) -> str:
        return ""


def _wait_until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + FULL_SECONDS
    while not is_so():
        if time.monotonic() > end:
            raise FaultRefusedError(f"the online store is not full after {FULL_SECONDS:g} s")
        time.sleep(0.1)


def _is_full(connection: Any) -> bool:
    connection.send_command("INFO", "clients")
    told = cast("bytes | str", connection.read_response())
    text = told.decode() if isinstance(told, bytes) else told
    found = dict(line.split(":", 1) for line in text.split() if ":" in line)
    return int(found["connected_clients"]) >= int(found["maxclients"])


def _refuses(address: str) -> bool:
    """Whether the store takes no further connection."""
    from redis.exceptions import RedisError

    from dojo.core.connections import connect_redis

    with closing(connect_redis(address)) as store:
        try:
            store.ping()
        except RedisError:
            return True
        return False


def _addresses(process: psutil.Process, settings: Settings) -> list[str]:
    """Return the process's own addresses of its connections to the online store."""
    from urllib.parse import urlsplit

    port = urlsplit(settings.online_store).port
    return [
        f"{one.laddr.ip}:{one.laddr.port}"
        for one in process.net_connections("tcp")
        if one.raddr and one.raddr.port == port
    ]
