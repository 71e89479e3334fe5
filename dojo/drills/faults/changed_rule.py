"""A colleague's change of an alert's rule, loaded by the running Prometheus.

The rule counts every answer as none, because no value of the counter is called `ok`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

from dojo.core.settings import Settings
from dojo.drills.faults.fault import FaultRefusedError, Receipt
from dojo.stack.control import running

FILE = Path("prometheus", "rules", "serving.yml")
SHIPPED = 'outcome=~"timeout|failed|unreachable|malformed|skipped"'
CHANGED = 'outcome!="ok"'


class ChangedRule:
    def inject(self, settings: Settings, write_down: Callable[[Receipt], None]) -> None:
        file = settings.home / FILE
        text = file.read_text() if file.exists() else ""
        if text.count(SHIPPED) != 1:
            raise FaultRefusedError(f"{file} has no rule to change")
        write_down({"file": str(file)})
        _replace(file, text.replace(SHIPPED, CHANGED))
        reload_rules(settings)

    def undo(self, settings: Settings, receipt: Receipt) -> None:
        file = Path(receipt["file"])
        if self.left(settings, receipt):
            _replace(file, file.read_text().replace(CHANGED, SHIPPED))
            reload_rules(settings)

    def left(self, settings: Settings, receipt: Receipt) -> str:
        file = Path(receipt["file"])
        there = file.exists() and CHANGED in file.read_text()
        return f"the changed rule in {file}" if there else ""


def reload_rules(settings: Settings) -> None:
    """Let the stack's Prometheus read its rules again, if it runs."""
    stack = running(settings.home)
    for process in stack.processes if stack else ():
        if process.name == "prometheus" and process.id and (found := process.id.process()):
            os.kill(found.pid, signal.SIGHUP)


def _replace(file: Path, text: str) -> None:
    temporary = file.with_suffix(".tmp")
    temporary.write_text(text)
    temporary.replace(file)
