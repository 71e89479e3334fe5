"""`dojo metrics`, `redis`, `restart` and `runbook` on real processes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry, Counter
from typer.testing import CliRunner, Result

from dojo.cli.app import build
from dojo.core.connections import connect_redis
from dojo.core.state.clock import RedisWorldClock
from dojo.core.telemetry import HealthServer
from dojo.stack.control import running, stop
from tests.integration.dojo.stack.tiny_stack import TinySpec
from tests.support.servers import RedisServer, Server, free_port, wait_until

pytestmark = pytest.mark.integration


def dojo(*words: str, **environment: str) -> Result:
    return CliRunner().invoke(build(), list(words), env=environment)


def test_metrics_are_those_of_the_process_cut_down_to_a_text() -> None:
    registry, port = CollectorRegistry(), free_port()
    asked = Counter("dojo_asked", "Asked.", ["by"], registry=registry)
    asked.labels("a").inc(3)
    asked.labels("b").inc()
    with HealthServer("127.0.0.1", port, lambda: (True, {}), registry):
        shown = dojo("metrics", "gateway", 'by="a"', DOJO_GATEWAY_PORT=str(port))
        assert shown.exit_code == 0, shown.output
        assert shown.stdout.splitlines()[0] == 'dojo_asked_total{by="a"} 3.0'
        assert 'by="b"' not in shown.stdout
        found = json.loads(
            dojo("metrics", "gateway", "asked_total", "--json", DOJO_GATEWAY_PORT=str(port)).stdout
        )
        assert found == {'dojo_asked_total{by="a"}': "3.0", 'dojo_asked_total{by="b"}': "1.0"}


def test_an_absent_process_is_a_failure_and_an_unknown_one_a_wrong_call() -> None:
    absent = dojo("metrics", "gateway", DOJO_GATEWAY_PORT=str(free_port()))
    assert (absent.exit_code, "gateway does not answer" in absent.stderr) == (1, True)
    for name in ("nobody", "redis", "mlflow"):
        assert dojo("metrics", name).exit_code == 2, "it measures nothing"


def test_redis_is_asked_in_its_own_words_and_never_changed(redis_server: RedisServer) -> None:
    client = connect_redis(redis_server.url)
    client.rpush("letters", b"a", b"\xff")
    client.xadd("dojo:stream:predictions", {"event": b"x"})
    client.xgroup_create("dojo:stream:predictions", "recorder", id="0")

    def ask(*words: str) -> Result:
        return dojo("redis", *words, DOJO_REDIS_URL=redis_server.url)

    assert json.loads(ask("lrange", "letters", "0", "1").stdout) == ["a", "\ufffd"]
    assert json.loads(ask("info", "memory").stdout)["used_memory"] > 0
    assert (
        json.loads(ask("xinfo", "groups", "dojo:stream:predictions").stdout)[0]["name"]
        == "recorder"
    )
    assert isinstance(json.loads(ask("--online", "slowlog", "get", "5").stdout), list)
    assert (
        len(json.loads(ask("xrevrange", "dojo:stream:predictions", "+", "-", "count", "1").stdout))
        == 1
    )
    for words in (("del", "letters"), ("slowlog", "reset"), ("flushall",), ("lpop", "letters")):
        refused = ask(*words)
        assert (refused.exit_code, "may change something" in refused.stderr) == (2, True), words
    assert client.llen("letters") == 2
    wrong = ask("xinfo", "groups", "letters")
    assert (wrong.exit_code, "WRONGTYPE" in wrong.stderr) == (2, True), "Redis did answer"
    away = dojo(
        "redis",
        "--online",
        "info",
        DOJO_REDIS_URL=redis_server.url,
        DOJO_ONLINE_STORE_URL="redis://127.0.0.1:9/0",
    )
    assert (away.exit_code, "127.0.0.1:9" in away.stderr) == (
        1,
        True,
    ), "the one that was asked is named"


def test_a_store_that_is_away_is_named_though_the_other_redis_answers(
    redis_server: RedisServer,
) -> None:
    redis = connect_redis(redis_server.url)
    RedisWorldClock(redis).set(datetime(2030, 3, 1, 12, tzinfo=UTC), 0)
    away = dojo(
        "score",
        "show",
        "churn",
        "c1",
        DOJO_MODELS="all",
        DOJO_REDIS_URL=redis_server.url,
        DOJO_ONLINE_STORE_URL="redis://127.0.0.1:9/0",
    )
    assert away.exit_code == 1, away.output
    assert "Redis does not answer at 127.0.0.1:9: " in away.stderr


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """Start a supervisor over two tiny processes. One of them ignores SIGTERM."""
    home = tmp_path / "home"
    home.mkdir()
    tiny = [
        TinySpec("monitor", free_port()),
        TinySpec("recorder", free_port(), ("stubborn",), grace=0.2),
    ]
    table = msgspec.json.encode(tiny).decode()
    server = Server(
        "supervisor",
        [sys.executable, "-m", "tests.integration.dojo.stack.tiny_stack", str(home), table],
        tmp_path,
    )
    server.start()
    wait_until(lambda: len(pids(home)) == 2, 30, "both are healthy")
    yield home
    stop(home)
    server.stop()


def pids(home: Path) -> dict[str, int]:
    """Return the pids of the healthy processes."""
    stack = running(home)
    return (
        {p.name: p.id.pid for p in stack.processes if p.id is not None and p.state == "healthy"}
        if stack
        else {}
    )


@pytest.mark.parametrize(("name", "killed"), [("monitor", False), ("recorder", True)])
def test_a_process_is_restarted_alone_and_killed_where_it_does_not_end(
    home: Path, name: str, killed: bool
) -> None:
    before = pids(home)
    done = dojo("restart", name, "--json", DOJO_HOME=str(home))
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"process": name, "killed": killed}
    assert pids(home)[name] != before[name], "it is healthy again, as another process"
    (other,) = before.keys() - {name}
    assert pids(home)[other] == before[other]


def test_what_does_not_run_is_not_restarted(home: Path, tmp_path: Path) -> None:
    assert dojo("restart", "nobody", DOJO_HOME=str(home)).exit_code == 2
    assert dojo("restart", "monitor", DOJO_HOME=str(tmp_path / "nothing")).exit_code == 2
    in_containers = dojo("restart", "monitor", DOJO_HOME=str(home), DOJO_PEER_HOSTS="{name}")
    assert (
        in_containers.exit_code,
        "dojo --context compose restart monitor" in " ".join(in_containers.stderr.split()),
    ) == (
        1,
        True,
    )


def test_the_runbook_of_an_alert_is_shown_where_no_checkout_is_at_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = Path("monitoring/runbooks/InputDrift.md").read_text()
    monkeypatch.chdir(tmp_path)
    assert dojo("runbook", "InputDrift").stdout.strip() == text.strip()
    assert "AlertsSilenced" in dojo("runbook").stdout.splitlines()
    assert dojo("runbook", "Nothing").exit_code == 2
