"""`python -m services.trainer.run_job [TASK] < job.json`: one job, or one of its tasks, on its own.

Settings come from the environment. The answer goes to stdout as JSON, or the reason as `error`.
The exit codes are:

    0   it ended
    1   it failed and may be repeated
    3   it was refused, and a repetition would end the same
    4   it did not begin, because another retraining of the model runs; try again later
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec
import structlog

from dojo.core.settings import Settings, load_settings
from dojo.core.telemetry import configure_logging
from pipelines import tasks
from pipelines.retraining import run_retraining
from pipelines.training.errors import EXIT_BUSY, EXIT_FAILED, EXIT_REFUSED, RetrainingRunningError
from pipelines.training.job import Job

T = TypeVar("T")

_log = structlog.get_logger("retraining")


def main(arguments: list[str]) -> int:
    settings, job = asked(Job)

    def progress(step: str, share: float) -> None:
        if share == 0:
            _log.info("step", model=job.model, job=job.key, step=step)

    run = getattr(tasks, arguments[0]) if arguments else run_retraining
    return answer(lambda: run(job, settings, progress), model=job.model, job=job.key)


def asked(kind: type[T]) -> tuple[Settings, T]:
    """Return the settings, and the request on standard input."""
    settings = load_settings()
    configure_logging("retraining", settings.log_level)
    return settings, msgspec.json.decode(sys.stdin.buffer.read(), type=kind)


def answer(work: Callable[[], Mapping[str, Any]], **about: str) -> int:
    """Do the work and print its answer as the last line, because libraries may print before it.

    Args:
        about: Fields for the log.

    Returns:
        The exit code.
    """
    try:
        said, code = work(), 0
        _log.info("ended", **about, outcome=said.get("outcome"))
    except RetrainingRunningError as error:
        _log.info("not begun", **about, why=str(error))
        return EXIT_BUSY
    except Exception as error:  # the outermost place: it is logged, and the exit code shows it
        said = {"error": f"{type(error).__name__}: {error}"}
        if isinstance(error, tasks.REFUSALS):
            code = EXIT_REFUSED
            _log.error("refused", **about, **said)
        else:
            code = EXIT_FAILED
            _log.exception("failed", **about)
    sys.stdout.write(msgspec.json.encode(said).decode() + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
