"""Work in a child process: its memory and its crashes stay there. It inherits our niceness; one at a time is the caller's to keep."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import dataclass, field
from tempfile import TemporaryFile
from typing import Any, Literal

import msgspec

from pipelines.training.errors import EXIT_BUSY, EXIT_REFUSED, RetrainingRunningError

Outcome = Literal["done", "refused", "failed", "stopped"]

LOOK_SECONDS = 0.2  # wall time between looks at whether it has ended


class ChildKilledError(RuntimeError):
    """The process that ran a job was killed: by an operator, or for want of memory."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended. `answer`: the JSON that it wrote; `error` in it says why it was refused or failed. stopped: we were asked to stop."""

    outcome: Outcome
    answer: dict[str, Any] = field(default_factory=dict)


def run_in_child(module: str, content: bytes, what: str, stop: threading.Event) -> Ended:
    """Run `python -m <module>` with `content` on its standard input, and wait for its end or for `stop`.

    Args:
        what: names the work, for messages.

    Raises:
        RetrainingRunningError: it was not begun, because another retraining is in the way.
        ChildKilledError: it may be run again, and goes on.
    """
    with (
        TemporaryFile() as said,
        subprocess.Popen([sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=said) as child,
    ):
        assert child.stdin is not None
        child.stdin.write(content)
        child.stdin.close()
        while child.poll() is None:
            if stop.wait(LOOK_SECONDS):
                child.terminate()
                return Ended("stopped")
        if child.returncode == EXIT_BUSY:  # nobody was told, and nothing was done: it is this job's turn later
            raise RetrainingRunningError(f"{what}: another retraining is running")
        if child.returncode < 0:
            raise ChildKilledError(f"{what}: ended by signal {-child.returncode}")
        said.seek(0)
        return Ended(_outcome(child.returncode), _last_object(said.read()))


def _outcome(code: int) -> Outcome:
    return "done" if code == 0 else "refused" if code == EXIT_REFUSED else "failed"


def _last_object(output: bytes) -> dict[str, Any]:
    """The last line as a JSON object; libraries may have printed before it. Empty when there is none."""
    for line in reversed(output.splitlines()):
        try:
            found = msgspec.json.decode(line)
        except msgspec.DecodeError:
            continue
        if isinstance(found, dict):
            return found
    return {}
