"""The record of a run, in the home: who did what when, what was injected, and what was measured.

    <home>/drills/open               number of the open run
    <home>/drills/<n>/run.json       the run, rewritten whole at each step
    <home>/drills/<n>/commands.jsonl the `dojo` commands called meanwhile (dojo/cli/trace.py)
    <home>/drills/<n>/samples.jsonl  the outcome's probe over time (watch.py)
    <home>/drills/<n>/lake.txt       the lake's files at the start

The steps of the injection are written before they are taken. So a drill that was killed can be
undone by any later command.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from dojo.cli.trace import OPEN_FILE, TracedCommand, read_commands
from dojo.core.state.clock import wall_now

State = Literal["armed", "injected", "witnessed", "paged", "closed", "stopped", "invalid"]

# States in which something may still be injected.
OPEN_STATES: frozenset[State] = frozenset({"armed", "injected", "witnessed", "paged"})

RUN_FILE, SAMPLES_FILE, LAKE_FILES = "run.json", "samples.jsonl", "lake.txt"


class Step(msgspec.Struct, kw_only=True):
    """One injected thing.

    Attributes:
        fault: Its kind and parameters, as in the drill's file.
        receipt: What its undo needs. It is complete before the thing acts.
        undone: True when the undo has succeeded.
    """

    fault: dict[str, Any]
    receipt: dict[str, Any] = {}
    undone: bool = False


class Hypothesis(msgspec.Struct, kw_only=True):
    """A possible mechanism that the person wrote down.

    Attributes:
        evidence: The command that speaks for it, as it was called.
        refuted: Wall time of the refutation. None while it stands.
        against: The command that speaks against it.
    """

    at: datetime
    mechanism: str
    evidence: str
    refuted: datetime | None = None
    against: str = ""


class Diagnosis(msgspec.Struct, kw_only=True):
    """The person's answer. `at` is wall time."""

    at: datetime
    component: str
    mechanism: str
    trigger: str
    impact: str
    scope: str


class Note(msgspec.Struct, kw_only=True):
    """A line of the person's own. `at` is wall time."""

    at: datetime
    text: str


class Told(msgspec.Struct, kw_only=True):
    """What the person told an owner outside the platform.

    Attributes:
        at: Wall time.
        since: World time of the beginning, as told.
        mended: True if the owner found it by that, and ended it.
    """

    at: datetime
    team: str
    mechanism: str
    since: datetime
    mended: bool


class DrillRun(msgspec.Struct, kw_only=True):
    """One run of a drill.

    Attributes:
        seal: SHA-256 of the drill's id and `salt`, printed at the start.
        salt: Opens the seal at the end.
        speed_before: World speed before the drill.
        marks: Name of a moment -> wall time.
        since: World time of the injection.
        alert: The alert that paged. "" for a run without a page.
        ends: Wall time at which the run ends by itself. None is never.
        unanswered: Answers and missing answers of the callers at the page, and at the end.
        lost: Files of the lake that were there at the start, and are gone.
        keys: Keys of the online store at the page, and at the end.
        left: What of the injected things existed when the person had finished.
        reason: Why the run is invalid, or what was last found missing.
    """

    number: int
    drill: str
    seal: str
    salt: str
    state: State = "armed"
    speed_before: float = 0.0
    marks: dict[str, datetime] = {}
    since: datetime | None = None
    alert: str = ""
    ends: datetime | None = None
    steps: list[Step] = []
    hypotheses: list[Hypothesis] = []
    diagnoses: list[Diagnosis] = []
    told: list[Told] = []
    notes: list[Note] = []
    hints: int = 0
    unanswered: dict[str, tuple[float, float]] = {}
    lost: list[str] = []
    keys: dict[str, int] = {}
    left: list[str] = []
    reason: str = ""


class Sample(msgspec.Struct):
    """The outcome's measurements at a moment, one for each bound. None is no data."""

    at: datetime
    values: tuple[float | None, ...]


class Records:
    """The runs of one home."""

    def __init__(self, home: Path) -> None:
        self.root = home / "drills"

    def directory(self, number: int) -> Path:
        return self.root / str(number)

    def open(self) -> DrillRun | None:
        """Return the run that is not ended."""
        try:
            number = int((self.root / OPEN_FILE).read_text())
        except (FileNotFoundError, ValueError):
            return None
        return self.read(number)

    def begin(self, run: DrillRun) -> None:
        self.directory(run.number).mkdir(parents=True, mode=0o700)
        self.write(run)
        _replace(self.root / OPEN_FILE, str(run.number).encode())

    def end(self) -> None:
        (self.root / OPEN_FILE).unlink(missing_ok=True)

    def next_number(self) -> int:
        return max((run.number for run in self.all()), default=0) + 1

    def all(self) -> list[DrillRun]:
        """Return all runs, the oldest first."""
        files = self.root.glob(f"*/{RUN_FILE}")
        return sorted((_decode(path) for path in files), key=lambda run: run.number)

    def read(self, number: int) -> DrillRun:
        """Return one run. Raises FileNotFoundError."""
        return _decode(self.directory(number) / RUN_FILE)

    def write(self, run: DrillRun) -> None:
        """Write a run, whole or not at all."""
        encoded = msgspec.json.format(msgspec.json.encode(run), indent=2)
        _replace(self.directory(run.number) / RUN_FILE, encoded)

    def mark(self, run: DrillRun, name: str, state: State | None = None) -> None:
        """Write down that a moment has come, once, and the new state."""
        run.marks.setdefault(name, wall_now())
        run.state = state or run.state
        self.write(run)

    def commands(self, run: DrillRun) -> list[TracedCommand]:
        return read_commands(self.directory(run.number))

    def note_lake(self, run: DrillRun, lake: Path) -> None:
        """Write down which files the lake has."""
        files = sorted(str(path.relative_to(lake)) for path in lake.glob("*/date=*/*.parquet"))
        (self.directory(run.number) / LAKE_FILES).write_text("\n".join(files))

    def lost_from(self, run: DrillRun, lake: Path) -> list[str]:
        """Return the files that the lake had at the start and has no more."""
        files = (self.directory(run.number) / LAKE_FILES).read_text().splitlines()
        return [file for file in files if not (lake / file).exists()]

    def samples(self, run: DrillRun) -> Sequence[Sample]:
        try:
            lines = (self.directory(run.number) / SAMPLES_FILE).read_bytes().splitlines()
        except FileNotFoundError:
            return ()
        return [msgspec.json.decode(line, type=Sample) for line in lines if line.endswith(b"}")]


def _decode(path: Path) -> DrillRun:
    return msgspec.json.decode(path.read_bytes(), type=DrillRun)


def _replace(target: Path, content: bytes) -> None:
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    temporary.replace(target)
