"""Keeps the world no faster than the platform can follow. Pure.

On a busy machine the streamer falls behind a fast world, and features are stale. The responder
rightly does not act on stale features. The demo then slows down until they are fresh. It slows down
quickly and speeds up slowly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from dojo.core.state.freshness import ViewFreshness

# Shares of a view's SLA. Every night, daily views reach two thirds of theirs.
LATE, FRESH = 0.8, 0.7

# The lowest share of the wished speed. Slowing down more would not help: remaining lateness has
# another cause, and the story must come to its end.
SLOWEST = 1 / 8

# Wall seconds between two changes. The world slows down again once the streamer could show the
# effect of the last step. It speeds up more patiently.
DOWN_AFTER, UP_AFTER = 2.0, 6.0


@dataclass(slots=True)
class Pace:
    """Speeds are world seconds per wall second.

    Attributes:
        wished: Speed that the viewer asked for, which is also the maximum.
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
        """The speed that the world should have from now on. `set` notes that it has it.

        Args:
            now: Wall seconds, monotonic.
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
