"""Health checks of a process. Every probe ends within its timeout, even if the process hangs."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

import msgspec
from redis.exceptions import RedisError

from dojo.core.connections import NO_CONNECTION_LEFT, connect_redis

# Quick while a person waits for the start, slow afterwards. Eight probes a second would cost a
# noticeable share of a two-core machine.
STARTING_INTERVAL_SECONDS = 0.25
INTERVAL_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Probe:
    """One answer. `details` hold the process' own report, or why there is no answer."""

    healthy: bool
    details: Mapping[str, Any] = field(default_factory=dict)


class HealthCheck(Protocol):
    def probe(self, timeout: float) -> Probe:
        """Ask once, for at most about `timeout` seconds."""


@dataclass(frozen=True, slots=True)
class RedisPing:
    """PING. A Redis that still loads its append-only file answers with an error, so not healthy.

    A full one takes no further connection, and serves those that it has. A restart would cut them.
    """

    url: str

    def probe(self, timeout: float) -> Probe:
        client = connect_redis(self.url, timedelta(seconds=timeout))
        try:
            client.ping()
        except RedisError as error:
            return Probe(NO_CONNECTION_LEFT in str(error), {"error": str(error)})
        finally:
            client.close()
        return Probe(True)


@dataclass(frozen=True, slots=True)
class HttpHealth:
    """GET `path`. Status 200 is healthy. A JSON object in the body is the process' own report."""

    host: str
    port: int
    path: str = "/healthz"

    # A health answer is a few hundred bytes. Anything longer is another page.
    _LONGEST_BODY_BYTES = 65_536

    def probe(self, timeout: float) -> Probe:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        try:
            connection.request("GET", self.path)
            answer = connection.getresponse()
            body = answer.read(self._LONGEST_BODY_BYTES)
        except (OSError, http.client.HTTPException) as error:
            return Probe(False, {"error": str(error) or type(error).__name__})
        finally:
            connection.close()
        return Probe(answer.status == 200, _details(body))


@dataclass(frozen=True, slots=True)
class AirflowHealth:
    """Airflow's own monitor.

    Healthy once its database, scheduler and DAG processor are (heartbeats of the last 30 s).
    """

    host: str
    port: int

    _PARTS = ("metadatabase", "scheduler", "dag_processor")

    def probe(self, timeout: float) -> Probe:
        answer = HttpHealth(self.host, self.port, "/api/v2/monitor/health").probe(timeout)
        if not answer.healthy:
            return answer
        states = {part: str((answer.details.get(part) or {}).get("status")) for part in self._PARTS}
        return Probe(all(state == "healthy" for state in states.values()), states)


def _details(body: bytes) -> Mapping[str, Any]:
    try:
        said = msgspec.json.decode(body)
    except msgspec.MsgspecError:
        return {}  # MLflow says OK in plain text
    return (
        {key: value for key, value in said.items() if key != "status"}
        if isinstance(said, dict)
        else {}
    )


class Prober:
    """Probes one process on its own thread. A hanging process never stalls the supervisor."""

    def __init__(self, name: str, check: HealthCheck) -> None:
        self._check = check
        self._stop = threading.Event()
        self._latest: Probe | None = None
        self._thread = threading.Thread(target=self._run, name=f"probe-{name}", daemon=True)

    def start(self) -> Prober:
        self._thread.start()
        return self

    @property
    def latest(self) -> Probe | None:
        """The newest answer, or None before the first."""
        return self._latest

    def stop(self) -> None:
        """Ask it to end. A probe under way ends with its timeout."""
        self._stop.set()

    def _run(self) -> None:
        from dojo.core.telemetry import (
            HEALTH_TIMEOUT_SECONDS,
        )  # here: `dojo status` needs no logging library

        interval = STARTING_INTERVAL_SECONDS
        while not self._stop.wait(interval):
            self._latest = self._check.probe(HEALTH_TIMEOUT_SECONDS)
            if self._latest.healthy:
                interval = INTERVAL_SECONDS
