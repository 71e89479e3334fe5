"""Measurements of the online store's Redis, each over a connection of its own.

They raise redis.RedisError when it does not answer.
"""

from __future__ import annotations

import time
from contextlib import closing
from typing import Any, cast

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from dojo.actions.desk import Desk
from dojo.core.connections import NO_CONNECTION_LEFT, connect_redis


def refuses_connections(desk: Desk) -> float:
    """Return 1 if the online store takes no further connection, else 0."""
    with closing(_store(desk)) as store:
        try:
            store.ping()
        except RedisError as error:
            if NO_CONNECTION_LEFT not in str(error):
                raise
            return 1.0
        return 0.0


def answers(desk: Desk) -> float:
    """Return 1 if the online store answers at its own address, else 0."""
    with closing(_store(desk)) as store:
        try:
            store.ping()
        except RedisError:
            return 0.0
        return 1.0


def refuses_writes(desk: Desk) -> float:
    """Return 1 if the online store refuses a write, else 0."""
    with closing(_store(desk)) as store:
        try:
            store.set("canary", "1", px=1000)
        except ResponseError:
            return 1.0
        return 0.0


def milliseconds(desk: Desk) -> float:
    """Return the longest answer of the online store to a ping within a second."""
    longest, end = 0.0, time.monotonic() + 1
    with closing(_store(desk)) as store:
        while (began := time.monotonic()) < end:
            store.ping()
            longest = max(longest, time.monotonic() - began)
            time.sleep(0.01)
    return 1000 * longest


def evictions(desk: Desk) -> float:
    """Return how many keys the online store evicted within a second."""
    with closing(_store(desk)) as store:
        before = _info(store, "evicted_keys")
        time.sleep(1)
        return _info(store, "evicted_keys") - before


def free_megabytes(desk: Desk) -> float:
    """Return the online store's room up to its limit. A store without a limit has 1e6."""
    with closing(_store(desk)) as store:
        limit, used = _info(store, "maxmemory"), _info(store, "used_memory")
    return (limit - used) / 1e6 if limit else 1e6


def keys(desk: Desk) -> int:
    """Return the number of keys in the online store."""
    with closing(_store(desk)) as store:
        return int(cast("int", store.dbsize()))


def _store(desk: Desk) -> Redis:
    return connect_redis(desk.settings.online_store)


def _info(store: Redis, name: str) -> float:
    return float(cast("dict[str, Any]", store.info())[name])
