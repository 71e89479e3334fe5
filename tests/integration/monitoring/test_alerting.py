"""From a gauge to a message, with the stack's rules and routes.

Prometheus, Alertmanager, receiver and Redis are real.
"""

from __future__ import annotations

import math
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry

from dojo.core.connections import connect_redis
from dojo.core.events.dead_letters import DeadLetters
from dojo.core.state.clock import RedisWorldClock, wall_now
from dojo.core.state.inbox import Message
from dojo.core.telemetry import HealthServer
from services.receiver.metrics import ReceiverMetrics
from services.receiver.receiver import Receiver
from services.receiver.silences import Silences
from services.receiver.watchdog import Watchdog
from tests.support.alerting import Alerting
from tests.support.servers import free_port, wait_until

pytestmark = pytest.mark.integration

WARNING, SEVERE, CRITICAL = 1, 2, 3


@pytest.fixture(scope="module")
def alerting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alerting]:
    watchdog_port = free_port()
    platform = Alerting(tmp_path_factory.mktemp("alerting"), watchdog_port)
    for level, severity in enumerate(
        ("insufficient_data", "ok", "warning", "severe", "critical"), -1
    ):
        platform.monitor.set(f'dojo_monitor_severity_level{{severity="{severity}"}}', level)
    try:
        platform.start()
        # The stack's receiver for the watchdog, with less patience.
        redis, stop, metrics = (
            connect_redis(platform.redis_server.url),
            threading.Event(),
            ReceiverMetrics(CollectorRegistry()),
        )
        watchdog = Watchdog(wall_now(), limit=timedelta(seconds=4))
        silences = Silences(platform.settings.url_of("alertmanager"), metrics)
        receiver = Receiver(redis, RedisWorldClock(redis), watchdog, silences, metrics, wall_now)

        def watch() -> None:
            while not stop.wait(0.1):
                receiver.turn(stop)

        watching = threading.Thread(target=watch)
        watching.start()
        try:
            with HealthServer(
                "127.0.0.1", watchdog_port, receiver.health, CollectorRegistry(), receiver.posts
            ):
                platform.watchdog = watchdog  # type: ignore[attr-defined]
                yield platform
        finally:
            stop.set()
            watching.join(10)
    finally:
        platform.stop()


def test_a_warning_reaches_the_owners_chat_and_so_does_its_end(alerting: Alerting) -> None:
    alerting.verdict("input_drift", SEVERE)
    (message,) = alerting.wait_for("the inputs have moved away")
    assert (message.urgency, message.to, message.model, message.source) == (
        "warning",
        "payments-risk",
        "fraud_detection",
        "alertmanager/chat",
    )
    assert "Severity 2" in message.text
    assert "Runbook: dojo runbook InputDrift" in message.text
    assert "InputDrift (warning, check input_drift, window hour)" in message.text
    alerting.verdict("input_drift", 0)
    first, end = alerting.wait_for("the inputs have moved away", count=2)
    assert first == message, "repetitions are told once"
    assert (end.urgency, end.title) == ("info", f"resolved: {message.title}")


def test_a_critical_alert_goes_to_the_pager_and_not_to_the_chat_as_well(alerting: Alerting) -> None:
    alerting.verdict("prediction_drift", CRITICAL)
    (message,) = alerting.wait_for("the scores have moved away")
    assert (message.urgency, message.source, message.to) == (
        "page",
        "alertmanager/pager",
        "payments-risk",
    )


def test_what_breaks_together_is_one_notification(alerting: Alerting) -> None:
    for window in ("hour", "day", "now"):
        alerting.verdict("data_quality", WARNING, window)
    alerting.wait_for("values are missing or out of range", count=3)
    first = next(
        line for line in alerting.notifications("chat") if line["names"] == ["DataQualityProblem"]
    )
    assert (first["alerts"], first["new"]) == (3, 3)


def test_a_receiver_that_is_killed_misses_nothing(alerting: Alerting) -> None:
    before = alerting.metric(
        alerting.settings.alertmanager_port, "alertmanager_notification_requests_failed_total"
    )
    alerting.receiver.kill()
    alerting.verdict("performance", CRITICAL, "day")
    wait_until(
        lambda: (
            alerting.metric(
                alerting.settings.alertmanager_port,
                "alertmanager_notification_requests_failed_total",
            )
            > before
        ),
        20,
        "Alertmanager finds nobody",
        every=0.1,
    )
    assert not alerting.told("labels say that the model has become worse")
    alerting.receiver.start()
    (message,) = alerting.wait_for("labels say that the model has become worse", within=40)
    assert message.urgency == "page"


def test_an_inbox_that_is_away_gets_the_message_later(alerting: Alerting) -> None:
    alerting.redis_server.kill()
    alerting.verdict("skew", WARNING, "now")
    wait_until(
        lambda: (
            alerting.metric(alerting.settings.receiver_port, "dojo_receiver_undelivered_total") > 0
        ),
        20,
        "the receiver says that it could not deliver",
        every=0.1,
    )
    alerting.redis_server.start()
    (message,) = alerting.wait_for("served feature values differ", within=40)
    assert message.source == "alertmanager/chat"


def test_what_is_no_notification_is_refused_counted_and_kept(alerting: Alerting) -> None:
    url = f"http://127.0.0.1:{alerting.settings.receiver_port}"
    body = b'{"version": "3", "receiver": "chat", "alerts": []}'
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{url}/chat", data=body, timeout=5)
    assert refused.value.code == 400
    assert "version" in refused.value.read().decode()
    assert alerting.metric(alerting.settings.receiver_port, "dojo_dead_letters_total") == 1
    (letter,) = DeadLetters(connect_redis(alerting.redis_server.url), "receiver").newest(9)
    assert (letter.stream, letter.payload.encode()) == ("chat", body)
    for path, code in (("/elsewhere", 404), ("/chat/", 404)):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{url}{path}", data=body, timeout=5)
        assert refused.value.code == code


def test_silences_that_hide_too_much_are_told_if_need_be_past_alertmanager(
    alerting: Alerting,
) -> None:
    def measured(reason: str) -> float | None:
        return alerting.value(f'dojo_receiver_silences{{reason="{reason}"}}')

    wait_until(
        lambda: measured("critical") == 0, 40, "the receiver has asked Alertmanager", every=0.2
    )
    harmless = alerting.silence(severity="warning", alertname="ResponderPaused")
    broad = alerting.silence(severity="critical")
    (message,) = alerting.wait_for("Alerts are silenced (critical): 1", within=60)
    assert (message.urgency, message.to) == ("warning", "ml-platform")
    assert measured("old") == 0
    total = alerting.silence(team="ml-platform")
    (past,) = alerting.wait_for("a silence hides warnings, the one about silences too", within=60)
    assert past.source == "receiver"
    assert f'{total} {{team="ml-platform"}} by a test until' in past.text
    for silence in (harmless, broad, total):
        alerting.end_silence(silence)
    wait_until(lambda: measured("critical") == 0, 40, "they are over", every=0.2)


def test_while_alertmanager_is_away_silences_are_unknown_and_not_fine() -> None:
    metrics = ReceiverMetrics(registry := CollectorRegistry())
    assert Silences(f"http://127.0.0.1:{free_port()}", metrics).look(wall_now()) is None
    for reason in ("critical", "old"):
        assert math.isnan(
            registry.get_sample_value("dojo_receiver_silences", {"reason": reason}) or 0.0
        )


def test_while_the_gateway_is_down_its_drift_alerts_are_kept_back(alerting: Alerting) -> None:
    def pages() -> list[Message]:
        return [
            m
            for m in alerting.told("The gateway does not answer its scrapes")
            if m.urgency == "page"
        ]

    wait_until(lambda: not alerting.firing("GatewayDown"), 20, "the gateway is seen", every=0.1)
    before = len(pages())  # a busy machine may have missed scrapes
    alerting.gateway.down()
    wait_until(lambda: len(pages()) > before, 20, "the platform's team is paged", every=0.1)
    assert pages()[-1].to == "ml-platform"
    alerting.verdict("segments", CRITICAL, "day")
    wait_until(
        lambda: (
            [a["status"]["state"] for a in alerting.alerts("SegmentPerformanceDrop")]
            == ["suppressed"]
        ),
        20,
        "Alertmanager keeps the drift alert back",
        every=0.1,
    )
    assert not alerting.told("one group of customers is served worse")
    alerting.gateway.up()
    alerting.wait_for("resolved: The gateway does not answer its scrapes")
    (drift,) = alerting.wait_for("one group of customers is served worse")
    assert drift.urgency == "page"


def test_when_prometheus_dies_the_receiver_says_that_nobody_would_be_told(
    alerting: Alerting,
) -> None:
    watchdog: Watchdog = alerting.watchdog  # type: ignore[attr-defined]
    wait_until(
        lambda: watchdog.age(wall_now()) < timedelta(seconds=3),
        20,
        "the watchdog barks",
        every=0.05,
    )
    silences = len(alerting.told("the monitoring is silent"))  # while Redis or the start took long
    alerting.prometheus.kill()
    message = alerting.wait_for("the monitoring is silent", count=silences + 1, within=30)[-1]
    assert (message.urgency, message.to, message.source) == ("page", "ml-platform", "receiver")
    assert "Runbook: dojo runbook Watchdog" in message.text
    recoveries = len(alerting.told("the monitoring is back"))
    alerting.prometheus.start()
    alerting.wait_for("the monitoring is back", count=recoveries + 1, within=30)
    assert len(alerting.told("the monitoring is silent")) == silences + 1, (
        "each silence is told once"
    )
