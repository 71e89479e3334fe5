"""What commands of a drill print."""

from __future__ import annotations

from datetime import timedelta

from dojo.cli.output import err, out, print_json
from dojo.core.state.clock import wall_now
from dojo.drills.record import DrillRun
from dojo.drills.spans import minutes


def progress(line: str) -> None:
    """Print a line of a start or an end."""
    err.print(line, highlight=False, markup=False, soft_wrap=True)


def say(run: DrillRun, as_json: bool, said: str) -> None:
    """Print what a command did."""
    if as_json:
        print_json({"run": run.number, "state": run.state, "said": said, "ends": run.ends})
    else:
        out.print(said + left(run), highlight=False, markup=False, soft_wrap=True)


def left(run: DrillRun) -> str:
    """Return how much time is left, in words. "" without a limit, and after the end."""
    if run.ends is None or run.state != "paged":
        return ""
    return f" ({minutes(max(timedelta(0), run.ends - wall_now()))} left)"
