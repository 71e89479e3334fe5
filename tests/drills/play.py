"""`python -m tests.drills.play [DRILL ...]`: plays drills on a stack of its own, and keeps records.

A record is kept beside the hash of the drill's file and of its script. So a second call plays only
what has changed or was not played. A run takes 3 to 10 minutes.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from dojo.actions.desk import Desk
from dojo.cli.trace import COMMANDS_FILE, TracedCommand
from dojo.core.settings import load_settings
from dojo.drills.catalogue import catalogue
from dojo.drills.record import DrillRun, Records, Sample
from dojo.drills.scoring.score import score
from dojo.drills.spec import DrillSpec
from dojo.stack.control import running
from dojo.stack.snapshots import load, save, snapshots
from tests.drills.leaks import leaks
from tests.drills.responders import HERE, RESPONDERS, dojo

RECORDED = HERE / "recorded"

# A start is refused with these words while figures and alerts still tell of something else.
SETTLING = ("is there already", "fires already", "not healthy")

# Parts of a drill's file that change nothing in a run.
TOLD = {"title", "designs", "par", "hints", "story"}

# How long the harm of the drill before may need to leave the figures. Wall time.
SETTLED_SECONDS = 300

PREPARED = "prepared"

# A world day takes 36 s at 2,400 world seconds a second. A busy machine needs longer. Wall time.
DAY_SECONDS = 300


class Recorded(msgspec.Struct, kw_only=True):
    """One run of one responder.

    Attributes:
        made_from: Hash of the drill's file and of its script.
        commit: The commit that was played.
    """

    made_from: str
    commit: str
    run: DrillRun
    commands: list[tuple[str, tuple[str, ...], int]]
    samples: list[Sample]

    def calls(self) -> list[TracedCommand]:
        return [
            TracedCommand(msgspec.convert(at, type=datetime), words, code)
            for at, words, code in self.commands
        ]


def made_from(spec: DrillSpec) -> str:
    """Return the hash of a drill and its right work, without what is only told."""
    played = spec.model_dump_json(exclude=TOLD, exclude_defaults=True)
    script = (HERE / "gold" / f"{spec.id}.sh").read_text()
    return hashlib.sha256(f"{played}{script}".encode()).hexdigest()[:16]


def file_of(drill: str, responder: str) -> Path:
    return RECORDED / f"{drill}.{responder}.json"


def read(file: Path) -> Recorded:
    return msgspec.json.decode(file.read_bytes(), type=Recorded)


def fresh() -> None:
    """Bring the prepared world back. The first time it is made: a world of one day, one model.

    Raises:
        RuntimeError: The stack does not start.
    """
    home = load_settings().home
    dojo("down")
    if any(one.name == PREPARED for one in snapshots(home)):
        load(home, PREPARED)
        _must("up")
    else:
        _must("up", "--models", "fraud_detection", "--without", "airflow")
        _must("train", "fraud_detection")
        _must("world", "resume", "--speed", "2400")
        _live_a_day()
        _must("world", "resume", "--speed", "60")
        _must("train", "fraud_detection")  # a second version, which has no role
        _must("down")
        save(home, PREPARED)
        _must("up")


def _live_a_day() -> None:
    """Wait until a world day has passed since the first training, and a few hours of the night."""
    clock = Desk().clock
    until, end = clock.now() + timedelta(hours=30), time.monotonic() + DAY_SECONDS
    while clock.now() < until:
        if time.monotonic() > end:
            raise RuntimeError(f"the world has not lived a day within {DAY_SECONDS} s")
        time.sleep(0.5)


def _must(*words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dojo", *words], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"dojo {' '.join(words)}: {done.stderr.strip()}")


def _apart(called: list[TracedCommand]) -> list[TracedCommand]:
    """Leave out what lies within a series of equal calls, as when a script waits."""
    return [
        one
        for number, one in enumerate(called)
        if not (
            0 < number < len(called) - 1
            and called[number - 1].words == one.words == called[number + 1].words
        )
    ]


def begin(spec: DrillSpec) -> None:
    """Start a drill, as soon as the traces of the one before are gone.

    Raises:
        RuntimeError: It did not begin. The message has the reason.
    """
    end = time.monotonic() + SETTLED_SECONDS
    while True:
        command = [sys.executable, "-m", "dojo", "drill", "start", spec.id]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        if not any(one in done.stderr for one in SETTLING) or time.monotonic() > end:
            raise RuntimeError(done.stderr.strip())
        time.sleep(5)


def play(spec: DrillSpec, responder: str, reset: bool) -> Recorded:
    """Play a drill, and return its record. It is undone at the end.

    Args:
        reset: Begin with the prepared world. False goes on with the running stack.

    Raises:
        RuntimeError: The drill did not begin.
    """
    if reset or running(load_settings().home) is None:
        fresh()
    begin(spec)
    records = Records(load_settings().home)
    try:
        _require_secrecy(spec, records)
        RESPONDERS[responder](spec)
    finally:
        if (run := records.open()) is not None:
            dojo("drill", "stop")
    run = records.all()[-1]
    commands = [(one.at.isoformat(), one.words, one.code) for one in _apart(records.commands(run))]
    commit = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], text=True).strip()
    return Recorded(
        made_from=made_from(spec), commit=commit, run=run, commands=commands,
        samples=list(records.samples(run)),
    )  # fmt: skip


def _require_secrecy(spec: DrillSpec, records: Records) -> None:
    """Look everywhere, and leave no trace of it in the record.

    Raises:
        RuntimeError: Some place gives the drill away.
    """
    run = records.open()
    assert run is not None
    file = records.directory(run.number) / COMMANDS_FILE
    before = file.read_bytes() if file.exists() else b""
    told = leaks(load_settings(), spec)
    file.write_bytes(before)
    if told:
        raise RuntimeError(f"it gives itself away: {told}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("drills", nargs="*", help="default: all")
    parser.add_argument("--responders", default="gold,nothing")
    parser.add_argument("--again", action="store_true", help="play what is recorded too")
    parser.add_argument("--keep", action="store_true", help="go on with the running stack")
    parser.add_argument("--home", default=os.environ.get("DOJO_HOME", "/tmp/dojo-drills"))
    asked = parser.parse_args()
    os.environ["DOJO_HOME"] = asked.home
    RECORDED.mkdir(exist_ok=True)
    failed = 0
    for spec in catalogue().values():
        if asked.drills and spec.id not in asked.drills:
            continue
        for responder in asked.responders.split(","):
            file = file_of(spec.id, responder)
            if file.exists() and not asked.again and read(file).made_from == made_from(spec):
                continue
            try:
                found = play(spec, responder, not asked.keep)
            except (RuntimeError, subprocess.SubprocessError) as error:
                print(f"{spec.id} {responder}: {error}", flush=True)
                failed += 1
                continue
            file.write_bytes(msgspec.json.encode(found))
            points = score(found.run, spec, found.calls(), found.samples)
            print(f"{spec.id} {responder}: {points.total:g}, {points.grade}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
