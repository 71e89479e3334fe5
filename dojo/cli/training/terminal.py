"""Shared parts of the retraining commands: reading arguments, the workspace, and progress."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.markup import escape

from dojo.cli.output import err, fail


def quiet_libraries() -> None:
    """Switch off MLflow's bars and notes, because the command shows its own progress.

    Call it before MLflow is imported, because the import sets the logger's level.
    """
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")


@contextmanager
def workspace(home: Path) -> Iterator[Path]:
    """A directory for one run under the platform's home. It is deleted afterwards.

    A run may take gigabytes, and /tmp is often memory.
    """
    parent = home / "training"
    parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="run-", dir=parent) as directory:
        yield Path(directory)


def say(step: str, share: float) -> None:
    """Progress on stderr: one line per step, or the current share on a terminal."""
    if share == 0:
        err.print(f"[dim]{escape(step)} ...[/]", highlight=False)
    elif err.is_terminal:
        err.print(
            f"[dim]  {escape(step)} {share:.0%}[/]",
            highlight=False,
            end="\n" if share >= 1 else "\r",
        )


def parse_time(text: str) -> datetime:
    """Read ISO 8601. Without a zone it is UTC. Wrong calls end with code 2."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise fail(f"expected a time such as 2018-06-24T00:00, got {text!r}", code=2) from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def parse_date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise fail(f"expected a date such as 2018-06-10, got {text!r}", code=2) from None


def parse_mapping(pairs: list[str]) -> dict[str, str]:
    """`["a=b"]` -> {"a": "b"}."""
    mapping = {}
    for pair in pairs:
        theirs, separator, ours = pair.partition("=")
        if not (theirs and separator and ours):
            raise fail(f"--map: expected their_column=our_column, got {pair!r}", code=2)
        mapping[theirs] = ours
    return mapping
