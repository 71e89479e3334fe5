"""The world's time without waiting for Redis.

A background task refreshes the clock's anchor and keeps it on disk.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path

import msgspec

from dojo.core.state.clock import CLOCK_KEY, Anchor, Reckoning, wall_now
from services.gateway.features.redis_client import RedisClient, RedisUnavailableError, command

REFRESH_SECONDS = 1.0  # the gateway sees a changed speed within this time
TIMEOUT_SECONDS = 0.5


class GatewayClock:
    """World time from the last known anchor, from this run or the previous one.

    Before the first anchor, the wall clock stands in. An answer with a guessed time is better than
    no answer, and `is_set` tells the caller about the guess.
    """

    def __init__(self, client: RedisClient, remembered: Path) -> None:
        self._client = client
        self._remembered = remembered
        self._reckoning = Reckoning(_read(remembered))

    @property
    def is_set(self) -> bool:
        return self._reckoning.anchor is not None

    def now(self) -> datetime:
        return self._reckoning.now() if self.is_set else wall_now()

    async def refresh(self) -> None:
        try:
            (stored,) = await self._client.call(
                command(b"GET", CLOCK_KEY.encode()), 1, TIMEOUT_SECONDS
            )
        except RedisUnavailableError:
            return  # the world continues at the known speed, for as long as its anchor says
        anchor = _decode(stored) if isinstance(stored, bytes) else None
        if anchor is not None and anchor != self._reckoning.anchor:
            self._reckoning.see(anchor)
            await asyncio.to_thread(_write, self._remembered, msgspec.json.encode(anchor))

    async def run(self) -> None:
        """Refresh until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(REFRESH_SECONDS)


def _read(path: Path) -> Anchor | None:
    try:
        return _decode(path.read_bytes())
    except OSError:
        return None


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    incoming = path.with_suffix(".incoming")
    incoming.write_bytes(content)
    incoming.replace(path)


def _decode(content: bytes) -> Anchor | None:
    try:
        return msgspec.json.decode(content, type=Anchor)
    except msgspec.MsgspecError:
        return None
