"""Measurements of the online store's Redis, over connections of their own."""

from __future__ import annotations

import time
from typing import Any, cast

from redis import Redis
from redis.exceptions import MaxConnectionsError, RedisError, ResponseError

from dojo.actions.desk import Desk
from dojo.core.connections import connect_redis


def refuses_connections(desk: Desk) -> float | None:
    """Return 1 if the online store refuses a new connection, else 0."""
    store = connect_redis(desk.settings.online_store)
    try:
        store.ping()
    except (ResponseError, MaxConnectionsError):
        return 1.0
    except RedisError as error:
        return 1.0 if "max number of clients" in str(error) else None
    finally:
        store.close()
    return 0.0


def refuses_writes(desk: Desk) -> float | None:
    """Return 1 if the online store refuses a write, else 0."""
    store = connect_redis(desk.settings.online_store)
    try:
        store.set("canary", "1", px=1000)
    except ResponseError:
        return 1.0
    finally:
        store.close()
    return 0.0


def milliseconds(desk: Desk) -> float | None:
    """Return the longest answer of the online store to a ping within a second."""
    store = connect_redis(desk.settings.online_store)
    longest, end = 0.0, time.monotonic() + 1
    while (began := time.monotonic()) < end:
        store.ping()
        longest = max(longest, time.monotonic() - began)
        time.sleep(0.01)
    store.close()
    return 1000 * longest


def evictions(desk: Desk) -> float | None:
    """Return how many keys the online store evicted within a second."""
    store = connect_redis(desk.settings.online_store)
    before = _info(store, "evicted_keys")
    time.sleep(1)
    after = _info(store, "evicted_keys")
    store.close()
    return after - before


def keys(desk: Desk) -> int | None:
    """Return the number of keys in the online store. None if it does not answer."""
    store = connect_redis(desk.settings.online_store)
    try:
        return int(cast("int", store.dbsize()))
    except RedisError:
        return None
    finally:
        store.close()


def free_megabytes(desk: Desk) -> float | None:
    """Return the online store's room up to its limit. A store without a limit has 1e6."""
    store = connect_redis(desk.settings.online_store)
    limit, used = _info(store, "maxmemory"), _info(store, "used_memory")
    store.close()
    return (limit - used) / 1e6 if limit else 1e6


def _info(store: Redis, name: str) -> float:
    return float(cast("dict[str, Any]", store.info())[name])
