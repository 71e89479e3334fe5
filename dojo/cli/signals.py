"""Ends a command in order when it is terminated or its terminal is closed.

It undoes the same things as an interrupted command.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

ENDING = (signal.SIGTERM, signal.SIGHUP)
_STANDARD_STREAMS = (0, 1, 2)


def end_in_order() -> None:
    """Have SIGTERM and SIGHUP raise SystemExit on the main thread.

    A signal that is ignored (nohup) stays ignored.
    """
    terminals = [stream for stream in _STANDARD_STREAMS if os.isatty(stream)]

    def end(number: int, frame: FrameType | None) -> None:
        for one in ENDING:
            # A closed terminal may send several signals, and cleaning up is under way.
            signal.signal(one, signal.SIG_IGN)
        if number == signal.SIGHUP:
            _let_go_of(terminals)
        raise SystemExit(128 + number)

    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end)


def _let_go_of(terminals: list[int]) -> None:
    """Prevent the failure of writes to a closed terminal, here and in commands that clean up."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in terminals:
        os.dup2(nowhere, stream)
