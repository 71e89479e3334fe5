"""Work in a child process, so that its memory and crashes stay there.

The child runs at the parent's niceness. The caller must start only one at a time.
"""

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

LOOK_SECONDS = 0.2  # wall time between checks for the child's end


class ChildKilledError(RuntimeError):
    """A signal killed the process of a job: by an operator, or for lack of memory."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended. The outcome `stopped` means that this process was asked to stop.

    Attributes:
        answer: The child's JSON. `error` in it gives the reason of a refusal or failure.
    """

    outcome: Outcome
    answer: dict[str, Any] = field(default_factory=dict)


def run_in_child(module: str, content: bytes, what: str, stop: threading.Event) -> Ended:
    """Run `python -m <module>`, and wait for its end or for `stop`.

    Args:
        content: Bytes for its standard input.
        what: Name of the work in messages.

    Raises:
        RetrainingRunningError: The work did not begin, because another retraining runs.
        ChildKilledError: The child was killed. The work can be repeated and then continues.
    """
    with (
        TemporaryFile() as said,
        subprocess.Popen(
            [sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=said
        ) as child,
    ):
        assert child.stdin is not None
        child.stdin.write(content)
        child.stdin.close()
        while child.poll() is None:
            if stop.wait(LOOK_SECONDS):
                child.terminate()
                return Ended("stopped")
        if child.returncode == EXIT_BUSY:  # nothing was done or announced: this job comes later
            raise RetrainingRunningError(f"{what}: another retraining is running")
        if child.returncode < 0:
            raise ChildKilledError(f"{what}: ended by signal {-child.returncode}")
        said.seek(0)
        return Ended(_outcome(child.returncode), _last_object(said.read()))


def _outcome(code: int) -> Outcome:
    return "done" if code == 0 else "refused" if code == EXIT_REFUSED else "failed"


def _last_object(output: bytes) -> dict[str, Any]:
    """Return the last line that is a JSON object, because libraries may print before it.

    Empty without one.
    """
    for line in reversed(output.splitlines()):
        try:
            found = msgspec.json.decode(line)
        except msgspec.DecodeError:
            continue
        if isinstance(found, dict):
            return found
    return {}
