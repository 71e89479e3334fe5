"""Where a rollout can be, and the form in which a check of a stage is reported."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec

CheckVerdict = Literal["ok", "insufficient_data", "failed"]
Unit = Literal["fraction", "psi", "requests", "seconds"]


class Stage(StrEnum):
    """Where a rollout is."""

    AWAITING_APPROVAL = "awaiting_approval"
    SHADOW = "shadow"
    CANARY = "canary"
    PROMOTING = "promoting"  # registry and route are being changed; repeated until both are
    WATCH = "watch"
    DONE = "done"
    ROLLING_BACK = "rolling_back"  # traffic is already away from the challenger; the registry may still be waited for
    ROLLED_BACK = "rolled_back"


ENDED = frozenset({Stage.DONE, Stage.ROLLED_BACK})


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """One check at one look, in the words of `dojo rollout show`: what was measured, on how many requests, against which limit.

    Attributes:
        value, limit: of the quantity that `measures` names; None without data.
        requests: how many (of the challenger) the value rests on. `needed`: how many it takes.
        unit: of value and limit.
        evidence: of sequential checks, the e-value (dojo/stats/inference/sequential.py), and `stops_at`, the one at which the challenger is
            stopped; None for others.
    """

    check: str
    verdict: CheckVerdict
    measures: str
    value: float | None
    limit: float | None
    requests: int
    needed: int
    unit: Unit = "fraction"
    evidence: float | None = None
    stops_at: float | None = None
    note: str = ""

    def shown(self, value: float | None) -> str:
        """A value of this look as people read it: `0.52 %`, `2.5 h`."""
        if value is None:
            return "-"
        match self.unit:
            case "fraction":
                return f"{100 * value:.3g} %"
            case "psi":
                return f"{value:.3f}"
            case "requests":
                return f"{value:,.0f}"
            case "seconds":
                return f"{value / 3600:.1f} h" if value >= 3600 else f"{value / 60:.1f} min"
