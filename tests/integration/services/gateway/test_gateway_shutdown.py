"""SIGTERM under load: every sent request is answered, and every answer is logged."""

from __future__ import annotations

import signal
import time

import pytest

from tests.integration.services.gateway.conftest import StartGateway
from tests.support.gateways import Callers, logged_predictions
from tests.support.servers import RedisServer, http_ok, wait_until

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_under_load_drops_no_request_and_no_event(
    workers: int, breakable_redis: RedisServer, start_gateway: StartGateway
) -> None:
    gateway = start_gateway(breakable_redis.url, gateway_workers=workers)
    wait_until(lambda: http_ok(f"{gateway.url}/readyz"), 60, "all are ready")
    with Callers(gateway.port, callers=8, pause=0.001) as callers:
        wait_until(lambda: len(callers.calls) > 300, 20, "traffic flows")
        asked = time.monotonic()
        gateway.signal(signal.SIGTERM)
        wait_until(callers.all_ended, 10, "every caller finds the door closed")
        assert gateway.process is not None
        assert gateway.process.wait(10) == 0
    assert time.monotonic() - asked < 10
    assert not callers.dropped
    assert {call.status for call in callers.calls} == {200}
    answered = [call.request_id for call in callers.calls]
    assert sorted(event.request_id for event in logged_predictions(breakable_redis.url)) == sorted(
        answered
    )


def test_connections_that_stay_idle_do_not_hold_up_the_end(
    breakable_redis: RedisServer, start_gateway: StartGateway
) -> None:
    gateway = start_gateway(breakable_redis.url)
    with Callers(gateway.port, callers=2, pause=60) as callers:
        wait_until(lambda: len(callers.calls) == 2, 10, "both callers are connected")
        asked = time.monotonic()
        assert gateway.stop() == 0
        assert time.monotonic() - asked < 8
