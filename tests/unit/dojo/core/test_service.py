"""The service harness: its reaction to rounds, and its report to the outside."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Counter
from redis.exceptions import ConnectionError as RedisConnectionError

from dojo.core.registry.errors import RegistryUnavailableError
from dojo.core.service import EXIT_WRONG_SETTINGS, REDIS, Cause, Service, run_process
from dojo.core.settings import SettingsError
from dojo.core.spec.read import SpecError
from dojo.core.state.clock import ClockNotSetError
from dojo.core.telemetry import LONGEST_BODY_BYTES, HealthServer, Reply
from tests.support.servers import free_port

STOP = threading.Event()
AWAY = RedisConnectionError("nobody there")


class Tried(Service):
    """Raises a test's error in the round or in its part "a"."""

    causes = (REDIS, Cause("disk", OSError, healthy=False))
    backoff = (0.5, 2.0)
    stuck_after = 60.0

    def __init__(self) -> None:
        super().__init__()
        self.raises: dict[str, Exception] = {}
        self.counted: list[tuple[str, str]] = []
        self.ran: list[str] = []

    def round(self, stop: threading.Event) -> float:
        for name in ("a", "b"):
            with self.part(name):
                if name in self.raises:
                    raise self.raises[name]
                self.ran.append(name)
        if "" in self.raises:
            raise self.raises[""]
        self.say("working", "slowly")
        return 9.0

    def failed(self, cause: str, part: str) -> None:
        self.counted.append((cause, part))

    def details(self) -> dict[str, object]:
        return {"seen": len(self.ran)}


@pytest.fixture
def service() -> Tried:
    return Tried()


def test_a_service_without_a_round_is_refused_before_it_starts() -> None:
    class Idle(Service):
        """A service without its round."""

    with pytest.raises(TypeError, match="round"):
        Idle()  # type: ignore[abstract]


def test_a_round_that_goes_well_waits_as_long_as_it_says(service: Tried) -> None:
    assert service.health() == (True, {"state": "starting", "seen": 0})
    assert service.turn(STOP) == 9.0
    assert service.health() == (True, {"state": "working", "reason": "slowly", "seen": 2})


def test_failed_rounds_are_repeated_ever_more_slowly_until_one_goes_well(service: Tried) -> None:
    service.raises[""] = AWAY
    assert [service.turn(STOP) for _ in range(4)] == [0.5, 2.0, 2.0, 2.0]
    assert service.counted == [("redis", "")] * 4
    service.raises.clear()
    assert service.turn(STOP) == 9.0
    service.raises[""] = AWAY
    assert service.turn(STOP) == 0.5


@pytest.mark.parametrize(
    ("error", "cause", "healthy", "reason"),
    [
        (AWAY, "redis", True, "Redis: nobody there"),
        (OSError("full"), "disk", False, "disk: full"),
        (KeyError("x"), "unforeseen", False, "unforeseen: KeyError: 'x'"),
    ],
)
def test_a_failure_says_its_cause_and_whether_a_restart_could_help(
    service: Tried, error: Exception, cause: str, healthy: bool, reason: str
) -> None:
    service.raises[""] = error
    service.turn(STOP)
    assert service.counted == [(cause, "")]
    assert service.health() == (
        healthy,
        {"state": "retrying" if healthy else "failing", "reason": reason, "seen": 2},
    )


def test_the_first_cause_that_fits_counts() -> None:
    """RegistryUnavailableError is also an OSError."""
    service = Tried()
    service.raises[""] = RegistryUnavailableError("MLflow did not answer")
    service.turn(STOP)
    assert service.counted == [("disk", "")]
    service.causes = (*Service.causes, *Tried.causes)  # type: ignore[misc]
    service.turn(STOP)
    assert service.counted[1:] == [("registry", "")]


def test_a_part_that_fails_stops_no_other_and_is_named(service: Tried) -> None:
    service.raises["a"] = AWAY
    assert service.turn(STOP) == 0.5
    assert service.ran == ["b"]
    assert service.counted == [("redis", "a")]
    expected = {
        "state": "retrying",
        "reason": "slowly",
        "faults": {"a": "Redis: nobody there"},
        "seen": 1,
    }
    assert service.health() == (True, expected)
    service.raises.clear()
    assert service.turn(STOP) == 9.0
    assert service.health() == (True, {"state": "working", "reason": "slowly", "seen": 3})


def test_a_part_with_a_pause_slows_no_round_is_named_and_waits_for_itself(service: Tried) -> None:
    with service.part("later", pause=60.0):
        raise AWAY
    assert service.turn(STOP) == 9.0, "the rounds go on at their pace"
    assert service.counted == [("redis", "later")]
    assert service.health()[1]["faults"] == {"later": "Redis: nobody there"}
    assert not service.due("later")
    with service.part("soon", pause=1e-9):
        raise AWAY
    assert service.due("soon")
    with service.part("soon", pause=1e-9):
        pass
    assert "soon" not in service.health()[1]["faults"]  # type: ignore[operator]


def test_one_unforeseen_part_makes_the_process_unhealthy(service: Tried) -> None:
    service.raises = {"a": AWAY, "b": ValueError("odd")}
    service.turn(STOP)
    healthy, details = service.health()
    assert (healthy, details["state"]) == (False, "failing")


def test_a_world_without_a_time_is_waited_for_and_not_counted(service: Tried) -> None:
    service.raises["a"] = ClockNotSetError()
    assert service.turn(STOP) == 0.5
    assert service.counted == []
    healthy, details = service.health()
    assert (healthy, details["state"]) == (True, "retrying")
    assert "no time yet" in str(details["faults"])


def test_a_round_that_does_not_end_is_reported(
    service: Tried, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, said = [100.0], []

    def hang(stop: threading.Event) -> float:
        for seconds in (service.stuck_after - 1, 2):
            now[0] += seconds
            said.append(service.health())
        raise OSError("full")

    monkeypatch.setattr("dojo.core.service.time.monotonic", lambda: now[0])
    monkeypatch.setattr(service, "round", hang)
    service.turn(STOP)
    now[0] += 1000
    assert said == [
        (True, {"state": "starting", "seen": 0}),
        (False, {"state": "stuck", "reason": "one round has taken 61 s so far"}),
    ]
    assert service.health() == (False, {"state": "failing", "reason": "disk: full", "seen": 0})


def test_wrong_settings_that_show_in_a_round_end_the_process(service: Tried) -> None:
    service.raises["a"] = SettingsError("of another world")
    with pytest.raises(SettingsError):
        service.turn(STOP)


@pytest.mark.parametrize(
    "error", [SettingsError("DOJO_SEED: wrong"), SpecError("models/x.yaml: wrong")]
)
def test_what_is_set_wrong_ends_a_process_with_one_code_and_the_reason(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(settings: object) -> int:
        raise error

    assert run_process("tests", refuse) == EXIT_WRONG_SETTINGS
    assert capsys.readouterr().err == f"{error}\n"
    assert run_process("tests", lambda settings: 3) == 3


@pytest.mark.parametrize(
    "name",
    [
        "recorder",
        "streamer",
        "materializer",
        "monitor",
        "rollout",
        "responder",
        "trainer",
        "simulator",
        "receiver",
        "gateway",
    ],
)
def test_every_process_refuses_a_wrong_setting_alike(name: str) -> None:
    environment = {"DOJO_LOG_LEVEL": "loud"}
    ended = subprocess.run(
        [sys.executable, "-m", f"services.{name}"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == EXIT_WRONG_SETTINGS
    assert ended.stderr.startswith("wrong settings:\n  DOJO_LOG_LEVEL: ")


# ---- its HTTP


@pytest.fixture
def server() -> Iterator[str]:
    port, registry = free_port(), CollectorRegistry()
    Counter("dojo_tests", "Tests.", registry=registry).inc()
    posts = {"/chat": lambda body: Reply(503 if body == b"later" else 200, body.decode())}
    with HealthServer("127.0.0.1", port, lambda: (False, {"state": "stuck"}), registry, posts):
        yield f"http://127.0.0.1:{port}"


def ask(url: str, body: bytes | None = None) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, data=body, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()


def test_health_and_metrics_are_served(server: str) -> None:
    status, body = ask(f"{server}/healthz")
    assert (status, json.loads(body)) == (503, {"status": "failing", "state": "stuck"})
    status, body = ask(f"{server}/metrics")
    assert (status, "dojo_tests_total 1.0" in body) == (200, True)
    assert ask(f"{server}/elsewhere")[0] == 404


def test_a_post_is_answered_by_its_path(server: str) -> None:
    assert ask(f"{server}/chat", b"now") == (200, "now\n")
    assert ask(f"{server}/chat", b"later") == (503, "later\n")
    assert ask(f"{server}/elsewhere", b"now") == (404, "POST to /chat\n")
    assert ask(f"{server}/chat/", b"now")[0] == 404


@pytest.mark.parametrize(
    ("headers", "status"), [({}, 411), ({"Content-Length": str(LONGEST_BODY_BYTES + 1)}, 413)]
)
def test_a_body_of_unknown_or_excessive_length_is_refused_unread(
    server: str, headers: dict[str, str], status: int
) -> None:
    connection = http.client.HTTPConnection(server.removeprefix("http://"), timeout=5)
    connection.putrequest("POST", "/chat")
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    assert connection.getresponse().status == status
    connection.close()
