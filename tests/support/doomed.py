"""A process that is killed between two of its writes, simulated in this process.

Its clients raise an error that no code handles. Reads leave no trace, so the moment of death
between two writes makes no difference.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from redis import Redis
from redis.client import Pipeline

WRITES = frozenset({"EVAL", "SET", "DEL", "XADD", "SADD", "HSET", "XTRIM"})


class KilledError(BaseException):
    """The process is gone. No error handler runs."""


class Fate:
    """Kills right after a write, once `survives` writes before it have succeeded."""

    def __init__(self, survives: int) -> None:
        self._left = survives

    def written(self) -> None:
        if self._left == 0:
            raise KilledError
        self._left -= 1


class DoomedMlflow:
    """MLflow's API in a doomed process."""

    def __init__(self, api: Any, fate: Fate) -> None:
        self._api, self._fate = api, fate

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            answer = getattr(self._api, name)(*args, **kwargs)
            if not name.startswith(("get_", "search_")):
                self._fate.written()
            return answer

        return call


def doomed_redis(url: str, fate: Fate) -> Redis:
    """Return a Redis client in a doomed process. A pipeline is one write."""

    class DoomedPipeline(Pipeline):
        def execute(self, *args: Any, **kwargs: Any) -> list[Any]:
            answer: list[Any] = super().execute(*args, **kwargs)
            fate.written()
            return answer

    class DoomedRedis(Redis):
        def pipeline(self, *_: Any, **__: Any) -> Pipeline:
            return DoomedPipeline(self.connection_pool, self.response_callbacks, True, None)

        def execute_command(self, *args: Any, **options: Any) -> Any:
            answer = super().execute_command(*args, **options)
            if str(args[0]).upper() in WRITES:
                fate.written()
            return answer

    return DoomedRedis.from_url(url, socket_timeout=5)
