"""A machine whose clocks a test moves by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from dojo.core.state.clock import Reckoning


class Machine:
    """Its wall clock, and seconds of a clock that is never set and stands still while it sleeps."""

    def __init__(self) -> None:
        self.wall = datetime(2026, 11, 28, 12, tzinfo=UTC)
        self.seconds = 1000.0

    def passes(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)
        self.seconds += seconds

    def sleeps(self, seconds: float) -> None:
        """Let the machine sleep. A clock that is set forward, or back, looks the same."""
        self.wall += timedelta(seconds=seconds)

    def process(self) -> Reckoning:
        """World time in a process that starts now."""
        return Reckoning(wall=lambda: self.wall, monotonic=lambda: self.seconds)
