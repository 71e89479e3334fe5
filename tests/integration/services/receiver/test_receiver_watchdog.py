"""The receiver's dead man's switch on a machine whose clock is set.

The inbox is real. No Alertmanager answers here.
"""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry

from dojo.core.connections import connect_redis
from dojo.core.state.clock import RedisWorldClock
from dojo.core.state.inbox import Inbox
from services.receiver.metrics import ReceiverMetrics
from services.receiver.receiver import Receiver
from services.receiver.silences import Silences
from services.receiver.watchdog import Watchdog, steady_clock
from tests.support.machine import Machine
from tests.support.servers import RedisServer, free_port

pytestmark = pytest.mark.integration


def test_a_steady_clock_goes_on_from_the_machines_time_and_does_not_follow_it() -> None:
    machine = Machine()
    began = machine.wall
    now = steady_clock(began, lambda: machine.seconds)
    machine.sleeps(15 * 3600)
    machine.passes(60)
    assert now() == began + timedelta(seconds=60)


@pytest.mark.parametrize("seconds", [15 * 3600.0, -3600.0])
def test_a_machine_that_slept_or_was_set_back_is_no_silence_of_the_monitoring(
    redis_server: RedisServer, seconds: float
) -> None:
    machine, metrics = Machine(), ReceiverMetrics(CollectorRegistry())
    redis = connect_redis(redis_server.url)
    silences = Silences(f"http://127.0.0.1:{free_port()}", metrics)
    receiver = Receiver(
        redis,
        RedisWorldClock(redis),
        Watchdog(machine.wall),
        silences,
        metrics,
        lambda: machine.wall,
    )
    machine.sleeps(seconds)
    receiver.round(threading.Event())
    assert Inbox(redis).newest(5) == []
    assert receiver.details()["watchdog"] == "0 s ago"


def test_a_silence_is_told_in_the_time_of_the_machine(redis_server: RedisServer) -> None:
    machine, metrics = Machine(), ReceiverMetrics(CollectorRegistry())
    redis = connect_redis(redis_server.url)
    silences = Silences(f"http://127.0.0.1:{free_port()}", metrics)
    silent_since = machine.wall - timedelta(minutes=10)
    receiver = Receiver(
        redis,
        RedisWorldClock(redis),
        Watchdog(silent_since),
        silences,
        metrics,
        lambda: machine.wall,
    )
    machine.sleeps(3600)
    receiver.round(threading.Event())
    (message,) = Inbox(redis).newest(5)
    assert message.title == "the monitoring is silent: no alert would arrive"
    assert "since 12:50:00 UTC" in message.text or "since 12:49:59 UTC" in message.text
