"""The stages of a rollout, and the report of one check of a stage."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec

CheckVerdict = Literal["ok", "insufficient_data", "failed"]
Unit = Literal["fraction", "psi", "requests", "seconds"]


class Stage(StrEnum):
    """The stage of a rollout."""

    AWAITING_APPROVAL = "awaiting_approval"
    SHADOW = "shadow"
    CANARY = "canary"
    PROMOTING = "promoting"  # registry and route are being changed, repeated until both are done
    WATCH = "watch"
    DONE = "done"
    # Traffic is already away from the challenger. The registry may still be waited for.
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"


ENDED = frozenset({Stage.DONE, Stage.ROLLED_BACK})


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """One check at one look, in the words of `dojo rollout show`.

    Attributes:
        check: Name of the check.
        verdict: Result of the look.
        measures: The measured quantity, in words.
        value: The measured value, in `unit`. None without data.
        limit: The limit, in `unit`. None without data.
        requests: Requests (of the challenger) behind the value.
        needed: Requests needed before the check may be ok.
        unit: Unit of value and limit.
        evidence: The e-value of a sequential check (dojo/stats/inference/sequential.py). None for
            other checks.
        stops_at: The e-value at which the challenger is stopped. None for other checks.
        note: Explanation for people.
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
        """Return a value of this look as people read it, such as `0.52 %` or `2.5 h`."""
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
