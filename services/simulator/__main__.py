"""`python -m services.simulator`: builds the world's history once, then lives until SIGTERM.

Settings are also wrong when they ask for another world than this home or this Redis has.
"""

from __future__ import annotations

import asyncio
import math
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime

import structlog

from dojo.core.keys import time_key
from dojo.core.service import Service, serve
from dojo.core.settings import Settings, SettingsError
from dojo.shop.datasets import DatasetError
from feature_repo.specs import in_use
from services.simulator.feed import Feed
from services.simulator.gateway_client import GatewayClient
from services.simulator.live import WAITING_FOR_REDIS, LiveState, LiveWorld
from services.simulator.opening import OpenWorld, open_world, spec_reader
from services.simulator.sources.span import TooShortError
from services.simulator.world import OtherWorldError, WorldLostError

log = structlog.get_logger()


class StoppedError(RuntimeError):
    """Asked to end while building history."""


class Simulator(Service):
    """Builds or mends history in one round, and lives in the next, until the process ends."""

    stuck_after = math.inf

    def __init__(self, opened: OpenWorld, gateway_url: str, time_key: str) -> None:
        super().__init__()
        self._opened, self._gateway_url, self._time_key = opened, gateway_url, time_key
        self._live = LiveState("building history")
        self._position: datetime | None = None  # None: history is not known to be whole

    def round(self, stop: threading.Event) -> float:
        if self._position is None:
            self._position = self._ensure_history(stop)
        else:
            log.info("living", emitted_until=self._position.isoformat())
            try:
                asyncio.run(self._live_from(self._position, stop))
            except WorldLostError as error:
                log.error(str(error), emitted_until=str(self._live.cursor))
                self._live.state, self._position = "finding where the world goes on", None
                return 0.0
            log.info("stopped", emitted_until=str(self._live.cursor))
        return 0.0

    def failed(self, cause: str, part: str) -> None:
        self._live.state = WAITING_FOR_REDIS if cause == "redis" else "failing"
        self._position = None

    def details(self) -> Mapping[str, object]:
        return self._live.details()

    def _ensure_history(self, stop: threading.Event) -> datetime | None:
        """Return where to live on, or None when asked to end meanwhile."""

        def progress(step: str, share: float) -> None:
            self._live.state = f"building history: {share:.0%}"
            if stop.is_set():
                raise StoppedError

        try:
            with of_settings():
                ready = self._opened.ensure(progress)
        except StoppedError:
            log.info("stopped while building history; the next start builds it")
            return None
        for note in ready.notes:
            log.warning("the world was mended", note=note)
        return ready.position

    async def _live_from(self, position: datetime, stop: threading.Event) -> None:
        opened = self._opened
        async with GatewayClient(self._gateway_url, opened.questions, self._time_key) as gateway:
            last_day = opened.source.days()[1]
            feed = Feed(opened.days)
            world = LiveWorld(
                feed,
                last_day,
                opened.clock,
                opened.keeper,
                opened.event_log,
                opened.cursor,
                opened.drifts,
                gateway,
                opened.decisions,
                opened.shown,
                opened.nights,
                self._live,
            )
            opened.decisions.recall(opened.lake, opened.event_log, position)
            opened.shown.recall(opened.lake, opened.event_log, position)
            await world.run(position, stop)


@contextmanager
def of_settings() -> Iterator[None]:
    """Turn another world, or a file that makes none, into wrong settings.

    A restart cures neither.
    """
    try:
        yield
    except (DatasetError, OtherWorldError, TooShortError) as error:
        raise SettingsError(f"the world cannot start: {error}") from error


def open_simulator(settings: Settings) -> Simulator:
    with of_settings():
        opened = open_world(settings)
        simulator = Simulator(opened, settings.gateway_url, time_key(settings))
        specs = in_use(settings, opened.specs, read=spec_reader(opened.source))
        return simulator.using(specs)


def main() -> int:
    return serve("simulator", open_simulator)


if __name__ == "__main__":
    sys.exit(main())
