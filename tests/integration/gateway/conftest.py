from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from redis import Redis

from dojo.clock import RedisWorldClock
from tests.bundles import cache_bundle, make_bundle
from tests.gateways import GatewayServer
from tests.online_rows import write_online_rows
from tests.servers import RedisServer

WORLD_NOW = datetime(2018, 6, 15, 12, tzinfo=UTC)  # a Friday, at noon
ENTITIES = 5

StartGateway = Callable[..., GatewayServer]


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A verified-to-be bundle of fraud_detection and its SHA-256."""
    directory = tmp_path_factory.mktemp("bundle")
    return directory, make_bundle(directory)


@pytest.fixture(scope="session")
def online_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis with rows that Feast wrote for c0..c4 and m0..m4 (importing Feast takes seconds: once). Not to be broken."""
    directory = tmp_path_factory.mktemp("online")
    server = RedisServer(directory)
    server.start()
    write_online_rows(directory / "feast", server.url, ENTITIES, WORLD_NOW)
    RedisWorldClock(Redis.from_url(server.url)).set(WORLD_NOW, 0.0)  # paused: ages are exact
    yield server
    server.stop()


@pytest.fixture
def breakable_redis(online_redis: RedisServer, redis_server: RedisServer) -> RedisServer:
    """The same rows and clock in a Redis of this test's own."""
    source, target = Redis.from_url(online_redis.url), Redis.from_url(redis_server.url)
    for key in source.scan_iter():
        if not key.startswith(b"dojo:stream:"):
            target.restore(key, 0, source.dump(key), replace=True)  # type: ignore[arg-type]
    return redis_server


@pytest.fixture
def start_gateway(tmp_path: Path, bundle: tuple[Path, str]) -> Iterator[StartGateway]:
    """Starts gateways that this test ends: `start_gateway(redis_url, cached=True, **settings)`."""
    started = []

    def start(redis_url: str, mlflow_url: str | None = None, cached: bool = True, **settings: object) -> GatewayServer:
        gateway = GatewayServer(tmp_path, redis_url, mlflow_url, **settings)
        if cached and not gateway.home.exists():
            cache_bundle(gateway.home, *bundle)
        started.append(gateway)
        gateway.start()
        return gateway

    yield start
    for gateway in started:
        gateway.stop()
