"""A gateway on a core of its own, for benches that compare gateways."""

from __future__ import annotations

import json
import os
import re
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil
from redis import Redis

from dojo.core.state.clock import RedisWorldClock
from tests.bench.gateway import LOAD_CORE, SERVER_CORE, WORLD_NOW, _on_core
from tests.support.servers import RedisServer, Server, free_port, http_ok, wait_until


@contextmanager
def redis_on_the_load_core(directory: Path) -> Iterator[RedisServer]:
    """Start a Redis with a running world clock beside the load generator, which is this process."""
    os.sched_setaffinity(0, {LOAD_CORE})  # inherited by Redis
    redis = RedisServer(directory)
    redis.start()
    RedisWorldClock(Redis.from_url(redis.url)).set(WORLD_NOW, 1.0)
    try:
        yield redis
    finally:
        redis.stop()


class RunningGateway(NamedTuple):
    """A ready gateway."""

    port: int
    process: psutil.Process

    def cpu_seconds(self) -> float:
        """Return its processor time so far, with the children that still run.

        A busy machine distorts it least.
        """
        used = [one.cpu_times() for one in (self.process, *self.process.children(recursive=True))]
        return sum(times.user + times.system for times in used)

    def scored(self, model: str) -> float:
        """Return the instances that version 1 answered so far. The fallback answers the others."""
        series = rf'dojo_gateway_predictions_total{{.*model="{model}",version="1"}}'
        found = re.findall(rf"^{series} (.+)$", self._text("metrics"), re.MULTILINE)
        return sum(map(float, found))

    def wait_for_its_log(self) -> None:
        """Return once every answer is in the event log. Writing them is part of the work."""

        def is_written() -> bool:
            return bool(json.loads(self._text("healthz"))["buffered_events"] == 0)

        wait_until(is_written, 60, "all answers are logged", every=0.2)

    def _text(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{path}", timeout=10) as answer:
            text: str = answer.read().decode()
        return text


@contextmanager
def gateway_on_a_core(
    name: str, directory: Path, redis_url: str, home: Path, settings: Mapping[str, object]
) -> Iterator[RunningGateway]:
    """Start a gateway whose versions are cached in `home`. Yield it once it is ready.

    Args:
        directory: Where its log goes.
        settings: Further settings, without DOJO_.
    """
    port = free_port()
    env = {
        "HOME": home,
        "GATEWAY_PORT": port,
        "GATEWAY_GRPC_PORT": free_port(),
        "REDIS_URL": redis_url,
        "MLFLOW_URL": f"http://127.0.0.1:{free_port()}",
        **settings,
    }
    gateway = Server(
        name,
        _on_core(SERVER_CORE, "-m", "services.gateway"),
        directory,
        {f"DOJO_{key}": str(value) for key, value in env.items()},
    )
    gateway.start()
    try:
        ready = f"http://127.0.0.1:{port}/readyz"
        wait_until(lambda: http_ok(ready), 60, f"gateway is ready: {gateway.log}")
        assert gateway.process is not None
        yield RunningGateway(port, psutil.Process(gateway.process.pid))
    finally:
        gateway.stop()
