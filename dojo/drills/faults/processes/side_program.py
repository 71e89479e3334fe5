"""A program that a colleague started by hand on this machine, beside the stack.

It stands as a file in the home's `scratch` and is a plain program of its own (drills/programs).
The supervisor knows nothing of it, so nothing heals it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Literal

import psutil
from pydantic import Field

from dojo.core.settings import Settings
from dojo.drills.faults.addresses import filled
from dojo.drills.faults.fault import FaultRefusedError, Injection, Receipt, WriteDown

# Beside the package, as in a checkout and in the images.
PROGRAMS = Path(__file__).parents[4] / "drills" / "programs"

FileName = Annotated[str, Field(pattern=r"^[a-z_]+\.[a-z]+$")]

# A program that ends sooner than this has failed. Wall time.
STARTED_SECONDS = 1.0


class SideProgram(Injection):
    """One program.

    Attributes:
        program: A file of drills/programs, without its ending.
        arguments: Its arguments (../addresses.py).
        files: Name -> text of files beside it, such as its configuration.
    """

    kind: Literal["side_program"]
    program: Annotated[str, Field(pattern=r"^[a-z_]+$")]
    arguments: tuple[str, ...] = ()
    files: dict[FileName, str] = Field(default_factory=dict)

    def inject(self, settings: Settings, write_down: WriteDown) -> None:
        target = settings.home.resolve() / "scratch" / f"{self.program}.py"
        beside = {target.parent / name: text for name, text in self.files.items()}
        write_down({"file": str(target), "beside": [str(path) for path in beside]})
        target.parent.mkdir(exist_ok=True)
        for path, text in beside.items():
            path.write_text(filled(text, settings))
        shutil.copyfile(PROGRAMS / target.name, target)
        child = subprocess.Popen(
            [sys.executable, str(target), *(filled(one, settings) for one in self.arguments)],
            cwd=target.parent,
            env={name: value for name, value in os.environ.items() if "DOJO" not in name},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        end = time.monotonic() + STARTED_SECONDS
        while time.monotonic() < end:
            if child.poll() is not None:
                raise FaultRefusedError(f"{self.program} ended with {child.returncode}")
            time.sleep(0.05)

    def undo(self, settings: Settings, receipt: Receipt) -> None:
        for process in _running(receipt):
            process.kill()
            process.wait(10)
        file = Path(receipt["file"])
        for path in (file, *map(Path, receipt.get("beside", ()))):
            path.unlink(missing_ok=True)
        if file.parent.is_dir() and not any(file.parent.iterdir()):
            file.parent.rmdir()

    def left(self, settings: Settings, receipt: Receipt) -> str:
        found = [process.pid for process in _running(receipt)]
        return f"process {found[0]}, {receipt['file']}" if found else ""


def _running(receipt: Receipt) -> list[psutil.Process]:
    """Return the processes that run the file, children too. No other program has this path."""
    found = []
    for process in psutil.process_iter():
        try:
            if receipt["file"] in process.cmdline():
                found.append(process)
        except psutil.Error:
            continue
    return found
