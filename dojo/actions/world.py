"""The world's clock, and drift that a person causes in it."""

from __future__ import annotations

from datetime import timedelta

from dojo.actions.desk import Desk, reason
from dojo.core.state.clock import Anchor
from dojo.shop.world_drift import ActiveDrift, DriftTable, require_possible


def pause(desk: Desk) -> Anchor:
    """Stop the world's time. Raises ClockNotSetError."""
    return desk.clock.set_speed(0)


def resume(desk: Desk, speed: float | None = None) -> Anchor:
    """Let the world's time run on.

    Args:
        speed: World seconds per wall second. None takes the setting's.

    Raises:
        ClockNotSetError: The world has no time yet.
    """
    return desk.clock.set_speed(desk.settings.speed if speed is None else speed)


def start_drift(
    desk: Desk,
    kind: str,
    who: str,
    why: str,
    strength: float | None = None,
    ramp: timedelta | None = None,
) -> ActiveDrift:
    """Start a drift at the world's now.

    Args:
        strength: Strength in the kind's unit. None takes the kind's default.
        ramp: World time over which it grows. None takes the kind's default.

    Raises:
        WrongCallError: The reason is empty.
        DriftError: The kind is unknown, active, or impossible in this world.
    """
    require_possible(kind, desk.settings.world_source)
    return DriftTable(desk.redis).start(
        kind, desk.now(), strength=strength, ramp=ramp, who=who, why=reason(why)
    )


def stop_drifts(desk: Desk, kind: str, who: str, why: str) -> list[ActiveDrift]:
    """End a drift at the world's now.

    Args:
        kind: The kind. "" stands for every active kind.

    Raises:
        WrongCallError: The reason is empty.
        DriftError: The kind is not active.
    """
    table, now = DriftTable(desk.redis), desk.now()
    kinds = [kind] if kind else [drift.kind for drift in table.active() if not drift.hidden]
    return [table.stop(name, now, who=who, why=reason(why)) for name in kinds]
