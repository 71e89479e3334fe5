"""What every fault can do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from dojo.core.settings import Settings

Receipt = dict[str, Any]


class FaultRefusedError(RuntimeError):
    """The fault cannot be injected here. The message says why."""


class Injection(Protocol):
    """One kind of fault."""

    def inject(self, settings: Settings, write_down: Callable[[Receipt], None]) -> None:
        """Let it act.

        Args:
            write_down: Takes what the undo needs, before that exists.

        Raises:
            FaultRefusedError: It cannot act here.
        """

    def undo(self, settings: Settings, receipt: Receipt) -> None:
        """Take back what still exists of it. It may be repeated.

        Raises:
            OSError: Something could not be taken back.
        """

    def left(self, settings: Settings, receipt: Receipt) -> str:
        """Return what of it still exists, in words. "" if nothing does."""
