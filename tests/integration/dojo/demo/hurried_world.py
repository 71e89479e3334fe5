"""`python -m tests.integration.dojo.demo.hurried_world URL`: a demo that watches until its end."""

from __future__ import annotations

import signal
import sys

from redis import Redis

from dojo.cli.output import out
from dojo.cli.signals import end_in_order
from dojo.core.state.clock import RedisWorldClock
from dojo.demo.traffic import at_speed


def main(url: str) -> None:
    end_in_order()
    with at_speed(RedisWorldClock(Redis.from_url(url)), 2400, 60):
        while True:
            out.print("watching")
            signal.sigtimedwait([], 0.05)


if __name__ == "__main__":
    main(sys.argv[1])
