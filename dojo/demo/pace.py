"""A world no faster than the platform can follow. On a busy machine the streamer falls behind a hurried world: features are stale, and the
responder rightly does nothing about what stale features say. The demo then goes slower until they are fresh: quickly down, slowly up. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from dojo.core.state.freshness import ViewFreshness

# Shares of a view's SLA. Daily views are two thirds of theirs old every night.
LATE, FRESH = 0.8, 0.7

# Slower helps nobody: whatever is still late then waits for something else than time, and the story must come to its end.
SLOWEST = 1 / 8

# Wall seconds from one change to the next: down after the streamer could show that the last step helped, up more patiently.
DOWN_AFTER, UP_AFTER = 2.0, 6.0


@dataclass(slots=True)
class Pace:
    """Speeds are world seconds per wall second.

    Attributes:
        wished: What the viewer asked for, and the most there is.
        told: Whether the viewer knows that the world goes slower at times.
    """

    wished: float
    speed: float = 0.0
    changed: float = 0.0
    told: bool = False

    def __post_init__(self) -> None:
        self.speed = self.wished

    @property
    def slowed(self) -> bool:
        return self.speed < self.wished

    def wanted(self, freshness: Mapping[str, ViewFreshness], world: datetime, now: float) -> float:
        """The speed that the world should have from here on; `set` notes that it has it.

        Args:
            now: wall seconds, monotonic.
        """
        share = max(
            (view.age(world).total_seconds() / view.sla_seconds for view in freshness.values()),
            default=0.0,
        )
        if share > LATE and now - self.changed >= DOWN_AFTER:
            return max(self.speed / 2, self.wished * SLOWEST)
        if share < FRESH and self.slowed and now - self.changed >= UP_AFTER:
            return min(self.speed * 1.5, self.wished)
        return self.speed

    def set(self, speed: float, now: float) -> None:
        self.speed, self.changed = speed, now
