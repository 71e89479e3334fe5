"""How many runs of each Airflow DAG failed for good in this world.

A failure is counted where its notice is sent (pipelines/dags/wiring.py). The trainer exports the
counts, because a run in Airflow ends and has no /metrics of its own.

    dojo:dags:failed    hash: DAG -> count
"""

from __future__ import annotations

from typing import cast

from redis import Redis

KEY = "dojo:dags:failed"


class DagFailures:
    """Raises redis.RedisError when Redis is out of reach."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def add(self, dag: str) -> None:
        self._redis.hincrby(KEY, dag, 1)

    def count(self, dag: str) -> int:
        return int(cast("bytes | None", self._redis.hget(KEY, dag)) or 0)
