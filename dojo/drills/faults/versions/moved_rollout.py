"""A rollout that a colleague starts or promotes by hand, with the platform's own command."""

from __future__ import annotations

from typing import Literal

from dojo.core.settings import Settings
from dojo.core.spec.section import Text
from dojo.drills.faults.fault import FaultRefusedError, Injection, Receipt, WriteDown


class MovedRollout(Injection):
    """One step of a rollout of the newest version that is not champion.

    Attributes:
        model: The model.
        step: `start` begins the rollout, `promote` ends its trial.
        who: The colleague.
        why: What the colleague wrote.
    """

    kind: Literal["moved_rollout"]
    model: Text
    step: Literal["start", "promote"]
    who: Text
    why: Text

    def inject(self, settings: Settings, write_down: WriteDown) -> None:
        from dojo.actions import rollouts  # late, as in the other faults
        from dojo.actions.desk import Desk
        from dojo.core.registry.versions import CHAMPION

        desk = Desk.of(settings)
        if self.step == "promote":
            write_down({})
            rollouts.overrule(desk, self.model, "promote", self.who, self.why)
            return
        champion = desk.registry.by_alias(self.model, CHAMPION)
        others = [one for one in desk.registry.versions(self.model) if one != champion]
        if champion is None or not others:
            raise FaultRefusedError(f"{self.model} has no second version")
        newest = max(others, key=lambda one: int(one.version)).version
        write_down({"version": newest})
        rollouts.start(desk, self.model, newest, self.who, self.why, force=True)

    def undo(self, settings: Settings, receipt: Receipt) -> None:
        """Abort the rollout while it goes on. A version that was promoted stays."""
        from dojo.actions import rollouts
        from dojo.actions.desk import Desk

        if self.left(settings, receipt):
            rollouts.overrule(Desk.of(settings), self.model, "abort", self.who, "not now")

    def left(self, settings: Settings, receipt: Receipt) -> str:
        from dojo.actions.desk import Desk

        found = Desk.of(settings).rollouts.get(self.model)
        if self.step == "promote" or found is None or not found.active:
            return ""
        same = found.version == receipt.get("version")
        return f"the rollout of version {found.version} of {self.model}" if same else ""
