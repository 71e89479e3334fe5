"""The stack where each process has a container of its own (DOJO_PEER_HOSTS).

No supervisor watches the processes, so each one is asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from dojo.core.airflow_access import airflow_access
from dojo.core.connections import redis_address
from dojo.core.settings import Settings
from dojo.core.state.clock import wall_now
from dojo.stack.control import START_TIMEOUT_SECONDS, StackError
from dojo.stack.health import AirflowHealth, HealthCheck, HttpHealth, RedisPing
from dojo.stack.status import ProcessStatus, StackStatus
from dojo.stack.supervisor.lifecycle import ProcessState
from dojo.stack.table import processes

# An answer takes milliseconds. A process that takes longer is shown as not healthy.
ANSWER_SECONDS = 2.0


def look_around(settings: Settings) -> StackStatus:
    """Ask every process at once.

    Values that only a supervisor knows (memory, restarts, since when) stay empty.
    """
    asked = [
        *_elsewhere(settings),
        *(
            (spec.name, spec.health, spec.address, *spec.ports.values())
            for spec in processes(settings)
        ),
    ]
    with ThreadPoolExecutor(len(asked)) as pool:
        found = tuple(pool.map(lambda one: _status(*one), asked))
    now = wall_now()
    return StackStatus(
        supervisor=None, supervisor_memory_bytes=0, started=now, written=now, processes=found
    )


def wait_for_peers(
    settings: Settings,
    progress: Callable[[StackStatus], None] = lambda _: None,
    timeout: float = START_TIMEOUT_SECONDS,
) -> StackStatus:
    """Ask until every process is healthy.

    Raises:
        StackError: A process is not healthy after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while True:
        status = look_around(settings)
        progress(status)
        if status.healthy:
            return status
        if time.monotonic() > deadline:
            ill = ", ".join(
                process.name
                for process in status.processes
                if process.state is not ProcessState.HEALTHY
            )
            raise StackError(f"not healthy after {timeout:.0f} s: {ill}")
        time.sleep(0.5)


def _elsewhere(settings: Settings) -> list[tuple[str, HealthCheck, str, int]]:
    """Servers that `processes` leaves out, because no embedded process does their work."""
    redis = urlsplit(settings.redis)
    mlflow = urlsplit(settings.mlflow)
    found: list[tuple[str, HealthCheck, str, int]] = [
        ("redis", RedisPing(settings.redis), redis_address(settings.redis), redis.port or 6379),
        (
            "mlflow",
            HttpHealth(mlflow.hostname or "", mlflow.port or 80, "/health"),
            settings.mlflow,
            mlflow.port or 80,
        ),
    ]
    if settings.online_store != settings.redis:
        online = urlsplit(settings.online_store)
        found.insert(
            1,
            (
                "redis-online",
                RedisPing(settings.online_store),
                redis_address(settings.online_store),
                online.port or 6379,
            ),
        )
    if (access := airflow_access(settings)) is not None:
        airflow = urlsplit(access.url)
        found.append(
            (
                "airflow",
                AirflowHealth(airflow.hostname or "", airflow.port or 80),
                access.url,
                airflow.port or 80,
            )
        )
    return found


def _status(
    name: str, health: HealthCheck, address: str, port: int, *further_ports: int
) -> ProcessStatus:
    probe = health.probe(ANSWER_SECONDS)
    return ProcessStatus(
        name=name,
        state=ProcessState.HEALTHY if probe.healthy else ProcessState.UNHEALTHY,
        since=wall_now(),
        id=None,
        members=(),
        started=None,
        restarts=0,
        deaths=0,
        ever_healthy=probe.healthy,
        memory_bytes=0,
        address=address,
        port=port,
        further_ports=further_ports,
        log="",
        grace_seconds=0,
        details=dict(probe.details),
    )
