"""`python -m services.receiver`: reads its settings (DOJO_*) and takes alerts until SIGTERM."""

from __future__ import annotations

import sys
import threading

import structlog

from dojo.core.connections import connect_redis
from dojo.core.service import stop_on_signal
from dojo.core.settings import SettingsError, load_settings
from dojo.core.state.clock import RedisWorldClock, wall_now
from dojo.core.telemetry import configure_logging
from services.receiver.metrics import ReceiverMetrics
from services.receiver.receiver import Receiver
from services.receiver.server import Server
from services.receiver.watchdog import Watchdog

LOOK_SECONDS = 1.0  # wall time; against a limit of two minutes

_log = structlog.get_logger("receiver")


def main() -> int:
    try:
        settings = load_settings()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    configure_logging("receiver", settings.log_level)
    stop = stop_on_signal()
    redis = connect_redis(settings.redis)
    metrics = ReceiverMetrics()
    receiver = Receiver(redis, RedisWorldClock(redis), Watchdog(wall_now()), metrics, wall_now)
    with Server(settings.host, settings.receiver_port, receiver):
        watch(receiver, metrics, stop)
    return 0


def watch(receiver: Receiver, metrics: ReceiverMetrics, stop: threading.Event, every: float = LOOK_SECONDS) -> None:
    """Look after the watchdog until `stop`, through any outage of Redis."""
    failing = False
    while not stop.wait(every):
        try:
            receiver.look()
            failing = False
        except Exception as error:  # the outermost loop: log, count, go on
            metrics.undelivered.inc()
            if not failing:
                _log.warning("the watchdog's silence cannot be told yet", error=f"{type(error).__name__}: {error}")
            failing = True


if __name__ == "__main__":
    sys.exit(main())
