"""Health checks on real servers: a full Redis is no hanging one."""

from __future__ import annotations

from typing import Any, cast

import pytest
from redis import Redis

from dojo.stack.health import RedisPing
from tests.support.servers import RedisServer, free_port

pytestmark = pytest.mark.integration


def test_a_redis_without_a_free_connection_is_alive_and_says_so(redis_server: RedisServer) -> None:
    check = RedisPing(redis_server.url)
    kept = Redis.from_url(redis_server.url, single_connection_client=True)
    known = cast("dict[str, Any]", kept.info("clients"))
    before = cast("dict[str, Any]", kept.config_get("maxclients"))["maxclients"]
    try:
        kept.config_set("maxclients", known["connected_clients"])
        full = check.probe(1)
    finally:
        kept.config_set("maxclients", before)
        kept.close()
    assert full.healthy
    assert "max number of clients" in str(full.details["error"])
    assert check.probe(1).details == {}


def test_a_redis_that_is_away_is_not_healthy() -> None:
    assert not RedisPing(f"redis://127.0.0.1:{free_port()}/0").probe(1).healthy
