"""What commands of a drill print."""

from __future__ import annotations

from dojo.cli.output import err, out, print_json
from dojo.drills.record import DrillRun


def progress(line: str) -> None:
    """Print a line of a start or an end."""
    err.print(line, highlight=False, markup=False, soft_wrap=True)


def say(run: DrillRun, as_json: bool, said: str) -> None:
    """Print what a command did."""
    if as_json:
        print_json({"run": run.number, "state": run.state, "said": said})
    else:
        out.print(said, highlight=False, markup=False, soft_wrap=True)
