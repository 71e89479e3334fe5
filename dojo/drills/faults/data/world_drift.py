"""A change of the world that no list, metric, log or audit entry names (dojo/shop).

Imports are late, because the list of drills needs none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from dojo.core.settings import Settings
from dojo.drills.faults.fault import FaultRefusedError, Injection, Receipt, WriteDown
from dojo.shop.drift_kinds import Kind

if TYPE_CHECKING:
    from dojo.shop.world_drift import ActiveDrift, DriftTable


class HiddenDrift(Injection):
    """Drift that a drill keeps to itself.

    Attributes:
        drift: Its kind (dojo/shop/drift_kinds.py).
        strength: In the kind's unit. None is the kind's default.
    """

    kind: Literal["world_drift"]
    drift: Kind
    strength: float | None = None

    def inject(self, settings: Settings, write_down: WriteDown) -> None:
        from dojo.core.connections import connect_redis
        from dojo.core.state.clock import RedisWorldClock
        from dojo.shop.world_drift import DriftError, require_possible

        now = RedisWorldClock(connect_redis(settings.redis)).now()
        try:
            require_possible(self.drift, settings.world_source)
            write_down({})
            _table(settings).start(self.drift, now, strength=self.strength, hidden=True)
        except DriftError as error:
            raise FaultRefusedError(str(error)) from error

    def undo(self, settings: Settings, receipt: Receipt) -> None:
        from dojo.core.connections import connect_redis
        from dojo.core.state.clock import RedisWorldClock

        if self._active(settings) is not None:
            now = RedisWorldClock(connect_redis(settings.redis)).now()
            _table(settings).stop(self.drift, now, hidden=True)

    def left(self, settings: Settings, receipt: Receipt) -> str:
        found = self._active(settings)
        return "" if found is None else "the change of the world goes on"

    def _active(self, settings: Settings) -> ActiveDrift | None:
        known = _table(settings).active()
        return next((one for one in known if one.hidden and one.kind == self.drift), None)


def _table(settings: Settings) -> DriftTable:
    from dojo.core.connections import connect_redis
    from dojo.shop.world_drift import DriftTable

    return DriftTable(connect_redis(settings.redis))
