"""A service that dies once. Its supervisor starts it again."""

from __future__ import annotations

from typing import Literal

from dojo.core.settings import Settings
from dojo.core.spec.section import Text
from dojo.drills.faults.fault import FaultRefusedError, Injection, Receipt, WriteDown


class KilledProcess(Injection):
    """One death. It heals by itself, so nothing is undone.

    Attributes:
        process: Its name in the stack.
    """

    kind: Literal["killed_process"]
    process: Text

    def inject(self, settings: Settings, write_down: WriteDown) -> None:
        from dojo.stack.control import process_of  # late, as in the other faults

        process = process_of(settings.home, self.process)
        if process is None:
            raise FaultRefusedError(f"{self.process} does not run")
        write_down({"pid": process.pid})
        process.kill()

    def undo(self, settings: Settings, receipt: Receipt) -> None:
        """Nothing is left of it."""

    def left(self, settings: Settings, receipt: Receipt) -> str:
        return ""
