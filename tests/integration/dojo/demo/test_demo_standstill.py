"""The demo in front of a world that no simulator moves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from rich.console import Console

from dojo.core.connections import connect_redis
from dojo.core.state.clock import CLOCK_KEY, Anchor, RedisWorldClock, wall_now
from dojo.demo.pace import Pace
from dojo.demo.showing import view
from dojo.demo.showing.watch import Watcher
from dojo.demo.steps import StepFailedError
from dojo.demo.traffic import LONGEST_STANDSTILL_SECONDS, watch
from tests.support.servers import RedisServer

pytestmark = pytest.mark.integration

WORLD = datetime(2025, 1, 6, 12, tzinfo=UTC)


def test_a_viewer_is_told_that_the_world_stands_still_and_where_to_look(
    redis_server: RedisServer,
) -> None:
    redis = connect_redis(redis_server.url)
    last = wall_now() - timedelta(seconds=LONGEST_STANDSTILL_SECONDS + 6)
    redis.set(CLOCK_KEY, msgspec.json.encode(Anchor(WORLD, last, speed=60, runs_on=5)))
    clock = RedisWorldClock(redis)
    watcher = Watcher(redis, "fraud_detection", clock)
    with pytest.raises(
        StepFailedError, match=r"stands still at 2025-01-06 12:05: `dojo logs simulator`"
    ):
        watch(
            Console(quiet=True),
            watcher,
            clock,
            Pace(60),
            lambda look: False,
            view.render,
            view.line,
            timedelta(days=1),
        )
