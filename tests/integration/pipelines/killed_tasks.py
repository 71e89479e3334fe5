"""Runs a retraining's task in a process and kills it (-9) after its n-th answer of MLflow or Redis.

This is the worst moment: the server has done the request, and the task does not know it. The
processes are forked from a server with all imports done, so that each takes a fraction of a second.
"""

from __future__ import annotations

import http.client
import os
import signal
from typing import Any

from dojo.core.settings import Settings, load_settings
from pipelines.training.job import Job
from tests.integration.fork_server import CONTEXT


def run_task(
    task: str,
    job: Job,
    settings: Settings,
    killed_after_answers: int = 0,
    killed_after_seconds: float = 0,
) -> bool:
    """Run one task.

    Args:
        killed_after_answers: Number of answers of MLflow and Redis before the kill. 0 never kills.
        killed_after_seconds: Seconds of the task's life before the kill. 0 never kills.

    Returns:
        True if it ended well by itself, False if it was killed.
    """
    where = {
        name: getattr(settings, name) for name in ("home", "models_dir", "redis_url", "mlflow_url")
    }
    child = CONTEXT.Process(
        target=_run, args=(task, job, where, killed_after_answers, killed_after_seconds)
    )
    child.start()
    child.join(120)
    assert child.exitcode in (
        0,
        -signal.SIGKILL,
    ), f"{task} ended with {child.exitcode}; its output is above"
    return child.exitcode == 0


def _run(task: str, job: Job, where: dict[str, Any], answers: int, seconds: float) -> None:
    from pipelines import tasks

    if answers:
        _die_after(answers)
    if seconds:
        signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        signal.setitimer(signal.ITIMER_REAL, seconds)
    getattr(tasks, task)(job, load_settings(**where))


def _die_after(answers: int) -> None:
    from redis.connection import AbstractConnection, Connection

    left = [answers]

    def answered() -> None:
        left[0] -= 1
        if left[0] <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    original_http, original_redis = http.client.HTTPConnection.getresponse, Connection.read_response

    def getresponse(self: http.client.HTTPConnection) -> http.client.HTTPResponse:
        response = original_http(self)
        answered()
        return response

    def read_response(self: AbstractConnection, *arguments: Any, **options: Any) -> Any:
        response = original_redis(self, *arguments, **options)
        answered()
        return response

    http.client.HTTPConnection.getresponse = getresponse  # type: ignore[method-assign]
    Connection.read_response = read_response  # type: ignore[method-assign]
