"""A service that dies once. Its supervisor starts it again."""

from __future__ import annotations

from typing import Literal

from dojo.core.settings import Settings
from dojo.core.spec.section import Text
from dojo.drills.faults.fault import Injection, Receipt, WriteDown
from dojo.drills.faults.processes.service import running_service


class KilledProcess(Injection):
    """One death. It heals by itself, so nothing is undone.

    Attributes:
        process: Its name in the stack.
    """

    kind: Literal["killed_process"]
    process: Text

    def inject(self, settings: Settings, write_down: WriteDown) -> None:
        process = running_service(settings, self.process)
        write_down({"pid": process.pid})
        process.kill()

    def undo(self, settings: Settings, receipt: Receipt) -> None:
        """Nothing is left of it."""

    def left(self, settings: Settings, receipt: Receipt) -> str:
        return ""
