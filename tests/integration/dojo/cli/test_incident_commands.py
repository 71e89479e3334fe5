"""`dojo incidents`: an alert is acknowledged and given to a team, and the audit trail says so."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from redis import Redis
from typer.testing import CliRunner, Result

from dojo.cli.app import build
from dojo.core.state.audit import AuditTrail
from dojo.core.state.clock import RedisWorldClock
from dojo.core.state.inbox import Notice, Notifier
from dojo.core.state.incidents import IncidentBook, id_of
from tests.support.servers import RedisServer

pytestmark = pytest.mark.integration

NOW = datetime(2025, 1, 6, 12, tzinfo=UTC)


@pytest.fixture
def redis(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Redis:
    """An inbox with two alerts, of which the older one has ended."""
    monkeypatch.setenv("DOJO_REDIS_URL", redis_server.url)
    client = Redis.from_url(redis_server.url)
    client.flushdb()
    RedisWorldClock(client).set(NOW, 0)
    notifier = Notifier(client, "alertmanager/pager")
    for occasion, status in (("a:1", "firing"), ("b:1", "firing"), ("a:1", "resolved")):
        title = f"{'resolved: ' if status == 'resolved' else ''}alert {occasion}"
        notice = Notice(f"alert:{occasion}:{status}", "page", title, "text")
        notifier.tell("ml-platform", "platform", notice, NOW)
    return client


def call(*words: str) -> Result:
    return CliRunner().invoke(build(), ["incidents", *words])


def listed(*words: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(call("list", "--json", *words).stdout)
    return found


def test_open_incidents_are_listed_and_all_of_them_if_asked(redis: Redis) -> None:
    assert [one["title"] for one in listed()] == ["alert b:1"]
    assert [one["title"] for one in listed("--all")] == ["alert a:1", "alert b:1"]
    assert [one["title"] for one in listed("--all", "--limit", "1")] == ["alert b:1"]
    assert "alert b:1" in call("list").stdout


def test_the_first_to_acknowledge_has_it_and_a_second_changes_nothing(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    for who in ("ana", "ben"):
        monkeypatch.setenv("LOGNAME", who)
        assert call("ack", "latest").exit_code == 0
    (found,) = listed()
    assert found["handled"]["by"] == "ana"  # type: ignore[index]
    told = AuditTrail(redis).entries()
    assert [(one.kind, one.who) for one in told] == [("incident", "ana")]


def test_it_is_given_on_and_stays_acknowledged(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = id_of("b:1")
    monkeypatch.setenv("LOGNAME", "ana")
    call("ack", name)
    given = call("assign", name, "payments-risk", "--who", "ana", "--why", "their feed")
    assert given.exit_code == 0, given.stderr
    handled = IncidentBook(redis).handled()[name]
    assert (handled.by, handled.assigned) == ("ana", "payments-risk")
    assert "payments-risk, seen by ana" in call("list").stdout
    again = call("assign", name, "payments-risk", "--why", "once more")
    assert "has it already" in again.stdout
    assert [one.why for one in AuditTrail(redis).entries()] == ["alert b:1", "their feed"]


def test_an_unknown_incident_and_an_empty_name_are_refused(redis: Redis) -> None:
    unknown = call("ack", "nothing")
    assert unknown.exit_code == 1
    assert "dojo incidents list --all" in unknown.stderr
    empty = call("assign", "latest", " ", "--why", "x")
    assert empty.exit_code == 2
    assert IncidentBook(redis).handled() == {}


def test_without_messages_there_is_none(redis: Redis) -> None:
    redis.flushdb()
    assert "no open incident" in call("list").stdout
    asked = call("ack", "latest")
    assert asked.exit_code == 1
    assert "no incident 'latest'" in asked.stderr
