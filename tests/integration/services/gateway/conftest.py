from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from redis import Redis

from dojo.core.state.clock import RedisWorldClock
from feature_repo.catalog import SERVICES
from tests.support.bundles import (
    SERVICE,
    cache_bundle,
    make_bundle,
    make_failing_bundle,
    make_slow_bundle,
)
from tests.support.gateways import GatewayServer
from tests.support.online_rows import write_online_rows
from tests.support.servers import RedisServer, wait_until

WORLD_NOW = datetime(2018, 6, 15, 12, tzinfo=UTC)  # a Friday, at noon
ENTITIES = 5

StartGateway = Callable[..., GatewayServer]


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Make a valid bundle of fraud_detection. Return it with its SHA-256."""
    directory = tmp_path_factory.mktemp("bundle")
    return directory, make_bundle(directory)


@pytest.fixture(scope="session")
def versions(
    tmp_path_factory: pytest.TempPathFactory, bundle: tuple[Path, str]
) -> dict[str, tuple[Path, str]]:
    """Make versions by number.

    1 is the champion, 2 another good one. 3 raises for every request, 4 takes 0.3 s, 5 never ends.
    6 wants other features. 7 raises for amounts from 50 euros. 8 never ends its verification.
    """
    directory = tmp_path_factory.mktemp("versions")
    made = {
        "2": make_bundle(directory / "2", seed=7),
        "3": make_failing_bundle(directory / "3"),
        "4": make_slow_bundle(directory / "4", 0.3),
        "5": make_slow_bundle(directory / "5", math.inf),
        "6": make_bundle(
            directory / "6", seed=8, features=tuple(reversed(SERVICES[SERVICE].features))[:-3]
        ),
        "7": make_failing_bundle(directory / "7", fails_from=50.0),
        "8": make_slow_bundle(
            directory / "8", math.inf, slow_from=-10.0
        ),  # the amounts of its parity rows are larger
    }
    return {
        "1": bundle,
        **{version: (directory / version, sha256) for version, sha256 in made.items()},
    }


@pytest.fixture(scope="session")
def online_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Start a Redis with Feast's rows for c0..c4 and m0..m4.

    Importing Feast takes seconds, so it happens once. Tests must not break this Redis.
    """
    directory = tmp_path_factory.mktemp("online")
    server = RedisServer(directory)
    server.start()
    write_online_rows(directory / "feast", server.url, ENTITIES, WORLD_NOW)
    RedisWorldClock(Redis.from_url(server.url)).set(WORLD_NOW, 0.0)  # paused: ages are exact
    yield server
    server.stop()


@pytest.fixture(scope="session")
def shared_gateway(
    online_redis: RedisServer, bundle: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayServer]:
    """Start a gateway that serves version 1 on Feast's rows. Tests must not break it."""
    server = GatewayServer(tmp_path_factory.mktemp("shared_gateway"), online_redis.url)
    cache_bundle(server.home, *bundle)
    server.start()
    known = {"customer_id": "c1", "merchant_id": "m1", "amount": 1.0}
    wait_until(lambda: server.predict(known)[0]["degraded"] is None, 10, "Redis is found")
    yield server
    server.stop()


@pytest.fixture
def breakable_redis(online_redis: RedisServer, redis_server: RedisServer) -> RedisServer:
    """Start a Redis for one test, with the same rows and clock."""
    source, target = Redis.from_url(online_redis.url), Redis.from_url(redis_server.url)
    for key in source.scan_iter():
        if not key.startswith(b"dojo:stream:"):
            target.restore(key, 0, source.dump(key), replace=True)  # type: ignore[arg-type]
    return redis_server


@pytest.fixture
def start_gateway(tmp_path: Path, bundle: tuple[Path, str]) -> Iterator[StartGateway]:
    """Return `start_gateway(redis_url, cached=True, versions=None, **settings)`.

    The fixture ends the gateways. With `cached`, version 1 is in the cache from the start. With
    `versions`, these are, and the first one serves.
    """
    started = []

    def start(
        redis_url: str,
        mlflow_url: str | None = None,
        cached: bool = True,
        versions: Mapping[str, tuple[Path, str]] | None = None,
        **settings: object,
    ) -> GatewayServer:
        gateway = GatewayServer(tmp_path, redis_url, mlflow_url, **settings)
        if cached and not gateway.home.exists():
            for version, (directory, sha256) in (versions or {"1": bundle}).items():
                cache_bundle(gateway.home, directory, sha256, version=version)
        started.append(gateway)
        gateway.start()
        return gateway

    yield start
    for gateway in started:
        gateway.stop()
