"""Writes down which `dojo` commands were called while a drill is open.

`<home>/drills/open` exists while a drill is open, and names its run. In `<home>/drills/<run>`,
`commands.jsonl` has the calls of `dojo`. `shell.tsv` has those of `dojo drill shell`, with Unix
seconds, exit code and text.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from dojo import DEFAULT_HOME

OPEN_FILE, COMMANDS_FILE, SHELL_FILE = "open", "commands.jsonl", "shell.tsv"


class TracedCommand(NamedTuple):
    """One call.

    Attributes:
        at: Wall time of the call.
        words: Its arguments. A command of a traced shell begins with `$`.
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
    found = []
    for line in _lines(directory / COMMANDS_FILE):
        try:
            call = json.loads(line)
        except json.JSONDecodeError:
            continue
        at = datetime.fromisoformat(call["at"])
        found.append(TracedCommand(at, tuple(call["words"]), call["code"]))
    for line in _lines(directory / SHELL_FILE):
        at_text, _, rest = line.partition("\t")
        code, _, said = rest.partition("\t")
        with suppress(ValueError):
            moment = datetime.fromtimestamp(float(at_text), tz=UTC)
            found.append(TracedCommand(moment, ("$", *said.split()), int(code)))
    return sorted(found, key=lambda one: one.at)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []


def _open_run() -> Path | None:
    root = Path(os.environ.get("DOJO_HOME") or DEFAULT_HOME) / "drills"
    try:
        return root / (root / OPEN_FILE).read_text()
    except OSError:
        return None
