"""A responder that a colleague paused, so nothing is done automatically."""

from __future__ import annotations

from typing import Literal

from dojo.core.settings import Settings
from dojo.core.spec.section import Text
from dojo.drills.faults.fault import Injection, Receipt, WriteDown


class PausedResponder(Injection):
    """The pause of all models.

    Attributes:
        who: The colleague.
        why: What the colleague wrote.
    """

    kind: Literal["paused_responder"]
    who: Text
    why: Text

    def inject(self, settings: Settings, write_down: WriteDown) -> None:
        from dojo.actions import responder  # late, as in the other faults
        from dojo.actions.desk import Desk

        desk = Desk.of(settings)
        write_down({"was_running": not self._is_paused(settings)})
        responder.pause(desk, "", self.who, self.why)

    def undo(self, settings: Settings, receipt: Receipt) -> None:
        from dojo.actions import responder
        from dojo.actions.desk import Desk

        if self.left(settings, receipt):
            responder.resume(Desk.of(settings), "", self.who, "the freeze is over")

    def left(self, settings: Settings, receipt: Receipt) -> str:
        still = receipt["was_running"] and self._is_paused(settings)
        return "the responder is paused" if still else ""

    def _is_paused(self, settings: Settings) -> bool:
        from dojo.core.connections import connect_redis
        from dojo.core.state.responder_control import EVERY_MODEL, read_control

        return EVERY_MODEL in read_control(connect_redis(settings.redis)).paused
