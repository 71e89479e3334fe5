"""Runs a batch run in a process and kills it (-9) at one of its moments."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from pipelines.batch_scoring import record, run
from tests.integration.fork_server import CONTEXT
from tests.support.scored_days import ScoredDay


def score_and_die(world: ScoredDay, home: Path, moment: str) -> None:
    """Run until the moment, such as `noted 3` (the third write of the record).

    The other kind is `written 3`, the third Parquet file. The first of them holds the features.
    """
    child = CONTEXT.Process(target=_run, args=(world, home, *moment.split()))
    child.start()
    child.join(120)
    assert child.exitcode == -signal.SIGKILL, f"it ended with {child.exitcode} before {moment}"


def _run(world: ScoredDay, home: Path, kind: str, number: str) -> None:
    left = [int(number)]

    def deadly(work: Any) -> Any:
        def do(*arguments: Any, **options: Any) -> Any:
            answer = work(*arguments, **options)
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return answer

        return do

    if kind == "noted":
        record.RunRecord.write = deadly(record.RunRecord.write)  # type: ignore[method-assign]
    else:
        run.write_parquet_atomically = deadly(run.write_parquet_atomically)
    world.scoring(home).run(None, speed=1.0)
