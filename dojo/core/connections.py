"""Redis clients with deadlines. A hanging server may only cost a caller a bounded time."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import urlsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

# What Redis answers when it takes no further connection. Those that are connected work on.
NO_CONNECTION_LEFT = "max number of clients"


def connect_redis(url: str, timeout: timedelta = timedelta(seconds=2)) -> Redis:
    """A client whose every command fails after `timeout` (redis.TimeoutError).

    It does not retry by itself, because callers know whether repeating is safe. Blocking reads must
    ask to wait for less than `timeout`.
    """
    seconds = timeout.total_seconds()
    return Redis.from_url(
        url,
        socket_timeout=seconds,
        socket_connect_timeout=seconds,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
    )


def redis_address(url: str) -> str:
    """`host:port` of a Redis URL, for messages. Leaves out user and password."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or 6379}"
