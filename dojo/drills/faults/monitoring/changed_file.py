"""A colleague's change of a deployed file, such as the monitoring's, read anew by its server."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Literal

from dojo.core.settings import Settings
from dojo.core.spec.section import Text
from dojo.drills.faults.fault import FaultRefusedError, Injection, Receipt, WriteDown


class ChangedFile(Injection):
    """A changed text of a file in the home, wherever it stands there.

    Attributes:
        file: The deployed file, relative to the home.
        shipped: The text that is changed. The file must have it once.
        changed: What stands there afterwards.
        process: The process that reads the file again at a SIGHUP. None looks at it by itself.
    """

    kind: Literal["changed_file"]
    file: Path
    shipped: Text
    changed: Text
    process: Literal["prometheus", "alertmanager"] | None = None

    def inject(self, settings: Settings, write_down: WriteDown) -> None:
        file = settings.home / self.file
        text = file.read_text() if file.exists() else ""
        if self.shipped not in text or self.changed in text:
            raise FaultRefusedError(f"{file} is not as it was shipped")
        write_down({"file": str(file)})
        _replace(file, text.replace(self.shipped, self.changed))
        self._reload(settings)

    def undo(self, settings: Settings, receipt: Receipt) -> None:
        file = Path(receipt["file"])
        if self.left(settings, receipt):
            _replace(file, file.read_text().replace(self.changed, self.shipped))
            self._reload(settings)

    def left(self, settings: Settings, receipt: Receipt) -> str:
        file = Path(receipt["file"])
        there = file.exists() and self.changed in file.read_text()
        return f"the changed text in {file}" if there else ""

    def _reload(self, settings: Settings) -> None:
        from dojo.stack.control import process_of  # late, as in the other faults

        process = process_of(settings.home, self.process) if self.process else None
        if process is not None:
            process.send_signal(signal.SIGHUP)


def _replace(file: Path, text: str) -> None:
    temporary = file.with_suffix(".tmp")
    temporary.write_text(text)
    temporary.replace(file)
