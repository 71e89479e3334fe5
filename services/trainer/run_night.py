"""`python -m services.trainer.run_night < night.json`: one night's batch scoring on its own.

Settings come from the environment. The exit codes are the same as in run_job.
"""

from __future__ import annotations

import sys
from typing import Any

import structlog

from dojo.core.settings import Settings
from pipelines.batch_scoring.nights import Night
from pipelines.batch_scoring.once import score_day
from services.trainer.run_job import answer, asked

_log = structlog.get_logger("batch scoring")


def main() -> int:
    settings, night = asked(Night)
    return answer(lambda: _score(settings, night), model=night.model, day=night.day.isoformat())


def _score(settings: Settings, night: Night) -> dict[str, Any]:
    def progress(step: str, share: float) -> None:
        if share == 0:
            _log.info("step", model=night.model, step=step)

    run = score_day(settings, night.model, night.day, None, progress)
    return {"version": run.version, "rows": run.rows, "online": run.online}


if __name__ == "__main__":
    sys.exit(main())
