"""`python -m services.receiver`: reads its settings (DOJO_*) and takes alerts until SIGTERM.

Alerts arrive as POST to /chat, /pager and /watchdog.
"""

from __future__ import annotations

import sys

from dojo.core.connections import connect_redis
from dojo.core.service import serve
from dojo.core.settings import Settings
from dojo.core.state.clock import RedisWorldClock, wall_now
from services.receiver.metrics import ReceiverMetrics
from services.receiver.receiver import Receiver
from services.receiver.silences import Silences
from services.receiver.watchdog import Watchdog


def open_receiver(settings: Settings) -> Receiver:
    redis, metrics = connect_redis(settings.redis), ReceiverMetrics()
    silences = Silences(settings.url_of("alertmanager"), metrics)
    return Receiver(
        redis, RedisWorldClock(redis), Watchdog(wall_now()), silences, metrics, wall_now
    )


def main() -> int:
    return serve("receiver", open_receiver)


if __name__ == "__main__":
    sys.exit(main())
