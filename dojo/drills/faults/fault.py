"""What every fault can do. A fault's file in `drills/` gives its parameters."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from dojo.core.settings import Settings
from dojo.core.spec.section import Section

Receipt = dict[str, Any]
WriteDown = Callable[[Receipt], None]


class FaultRefusedError(RuntimeError):
    """The fault cannot be injected here. The message says why."""


class Injection(Section):
    """One kind of fault, with its parameters."""

    @abstractmethod
    def inject(self, settings: Settings, write_down: WriteDown) -> None:
        """Let it act.

        Args:
            write_down: Takes what the undo needs, before that exists.

        Raises:
            FaultRefusedError: It cannot act here.
        """

    @abstractmethod
    def undo(self, settings: Settings, receipt: Receipt) -> None:
        """Take back what still exists of it. It may be repeated.

        Raises:
            OSError: Something could not be taken back.
        """

    @abstractmethod
    def left(self, settings: Settings, receipt: Receipt) -> str:
        """Return what of it still exists, in words. "" if nothing does."""
