"""`python -m services.trainer.run_job [TASK] < job.json`: one job, or one of its tasks, in a process of its own.

Settings come from the environment. The answer goes to stdout as JSON, or `error` in words. Exit codes: 0 it ended, 1 it failed and may be repeated, 3 it was
refused: repeating it as things are ends the same, 4 it was not begun, because another retraining of the model runs: come back later.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import msgspec
import structlog

from dojo.core.settings import load_settings
from dojo.core.telemetry import configure_logging
from pipelines import tasks
from pipelines.retraining import run_retraining
from pipelines.training.errors import EXIT_BUSY, EXIT_FAILED, EXIT_REFUSED, RetrainingRunningError
from pipelines.training.job import Job

_log = structlog.get_logger("retraining")


def main(arguments: list[str]) -> int:
    settings = load_settings()
    configure_logging("retraining", settings.log_level)
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)

    def progress(step: str, share: float) -> None:
        if share == 0:
            _log.info("step", model=job.model, job=job.key, step=step)

    try:
        answer = getattr(tasks, arguments[0])(job, settings, progress) if arguments else run_retraining(job, settings, progress)
    except RetrainingRunningError as error:
        _log.info("not begun", model=job.model, job=job.key, why=str(error))
        return EXIT_BUSY
    except tasks.REFUSALS as error:
        _log.error("refused", model=job.model, job=job.key, error=f"{type(error).__name__}: {error}")
        write_answer({"error": f"{type(error).__name__}: {error}"})
        return EXIT_REFUSED
    except Exception as error:  # the outermost place: it is logged, and the exit code tells
        _log.exception("failed", model=job.model, job=job.key)
        write_answer({"error": f"{type(error).__name__}: {error}"})
        return EXIT_FAILED
    _log.info("ended", model=job.model, job=job.key, outcome=answer.get("outcome"))
    write_answer(answer)
    return 0


def write_answer(answer: Mapping[str, Any]) -> None:
    """As one line, the last one: what libraries print comes before it."""
    sys.stdout.write(msgspec.json.encode(answer).decode() + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
