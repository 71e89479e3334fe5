"""Writes down which `dojo` commands were called while a drill is open.

<home>/drills/open    exists while a drill is open, and names its run
<home>/drills/<run>/commands.jsonl
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from dojo import DEFAULT_HOME

OPEN_FILE, COMMANDS_FILE = "open", "commands.jsonl"


class TracedCommand(NamedTuple):
    """One call.

    Attributes:
        at: Wall time of the call.
        words: Its arguments.
        code: Exit code.
    """

    at: datetime
    words: tuple[str, ...]
    code: int

    @property
    def said(self) -> str:
        return " ".join(self.words)


@contextmanager
def traced(words: list[str]) -> Iterator[None]:
    """Write a call down, with its exit code, if a drill is open when it begins."""
    directory = _open_run()
    if directory is None:
        yield
        return
    from dojo.core.state.clock import wall_now  # commands outside drills need none of it

    began, code = wall_now(), 1
    try:
        yield
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        raise
    finally:
        line = json.dumps({"at": began.isoformat(), "words": words, "code": code})
        try:
            with (directory / COMMANDS_FILE).open("a") as file:
                file.write(line + "\n")
        except OSError as error:
            sys.stderr.write(f"note: the drill's record was not written: {error}\n")


def read_commands(directory: Path) -> list[TracedCommand]:
    """Return the calls of a run, the oldest first. A line that was cut short is left out."""
    try:
        lines = (directory / COMMANDS_FILE).read_text().splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            call = json.loads(line)
        except json.JSONDecodeError:
            continue
        at = datetime.fromisoformat(call["at"])
        found.append(TracedCommand(at, tuple(call["words"]), call["code"]))
    return sorted(found, key=lambda one: one.at)


def _open_run() -> Path | None:
    root = Path(os.environ.get("DOJO_HOME") or DEFAULT_HOME) / "drills"
    try:
        return root / (root / OPEN_FILE).read_text()
    except OSError:
        return None
