"""The world's process: builds its history once, then lives.

    python -m services.simulator        /healthz and /metrics on DOJO_SIMULATOR_PORT

Ends with code 2 when the settings ask for another world than this home or this Redis has; everything else (Redis or the gateway
away) is waited out.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from datetime import datetime

import structlog
from redis.exceptions import RedisError

from dojo.core.service import stop_on_signal
from dojo.core.settings import Settings, SettingsError, load_settings
from dojo.core.spec.load import SpecError
from dojo.core.telemetry import HealthServer, configure_logging
from dojo.shop.datasets import DatasetError
from services.simulator.feed import Feed
from services.simulator.gateway_client import GatewayClient
from services.simulator.history import Readiness
from services.simulator.live import REDIS_RETRY_SECONDS, WAITING_FOR_REDIS, LiveState, LiveWorld
from services.simulator.opening import OpenWorld, open_world
from services.simulator.sources.span import TooShortError
from services.simulator.world import OtherWorldError

log = structlog.get_logger()

# Wrong settings, as opposed to a crash: starting again would not help.
EXIT_WRONG_SETTINGS = 2


class StoppedError(RuntimeError):
    """Asked to end while building history."""


def main() -> int:
    try:
        settings = load_settings()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")  # logging is configured by the settings
        return EXIT_WRONG_SETTINGS
    configure_logging("simulator", settings.log_level)
    try:
        run(settings, stop_on_signal())
    except (SpecError, DatasetError, OtherWorldError, TooShortError) as error:
        log.error("the world cannot start", reason=str(error))
        return EXIT_WRONG_SETTINGS
    except StoppedError:
        log.info("stopped while building history; the next start builds it")
    return 0


def run(settings: Settings, stop: threading.Event) -> None:
    state = LiveState("building history")
    with HealthServer(settings.host, settings.simulator_port, lambda: (True, state.details())):
        opened = open_world(settings)

        def progress(step: str, share: float) -> None:
            state.state = f"building history: {share:.0%}"
            if stop.is_set():
                raise StoppedError

        ready = _until_redis_answers(lambda: opened.ensure(progress), state, stop)
        for note in ready.notes:
            log.warning("the world was mended", note=note)
        log.info("living", emitted_until=ready.position.isoformat())
        asyncio.run(_live(settings, opened, state, ready.position, stop))
    log.info("stopped", emitted_until=str(state.cursor))


async def _live(settings: Settings, opened: OpenWorld, state: LiveState, position: datetime, stop: threading.Event) -> None:
    async with GatewayClient(settings.gateway_url, opened.spec.name) as gateway:
        last_day = opened.source.days()[1]
        feed = Feed(opened.days)
        world = LiveWorld(feed, last_day, opened.clock, opened.event_log, opened.cursor, opened.drifts, gateway, state)
        await world.run(position, stop)


def _until_redis_answers(step: Callable[[], Readiness], state: LiveState, stop: threading.Event) -> Readiness:
    """Repeat a step for as long as Redis is out of reach. Raises StoppedError: asked to end meanwhile."""
    while True:
        try:
            return step()
        except RedisError as error:
            if state.state != WAITING_FOR_REDIS:
                log.warning("Redis is away: waiting for it", error=str(error))
            state.state = WAITING_FOR_REDIS
        if stop.wait(REDIS_RETRY_SECONDS):
            raise StoppedError


if __name__ == "__main__":
    sys.exit(main())
