"""Ends a drill that is open when the stack starts or stops."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from dojo.cli.output import note
from dojo.cli.trace import OPEN_FILE


def end_open_drill(home: Path) -> None:
    """Undo what an open drill injected, so that no start or stop leaves it behind.

    The room of the drills lies above this one, so it is called as its command.
    """
    if not (home / "drills" / OPEN_FILE).exists():
        return
    command = [sys.executable, "-m", "dojo", "drill", "stop"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = (done.stdout if done.returncode == 0 else done.stderr).strip()
    note(f"a drill was open: {said}")
