"""What was found about the groups of a protected attribute (fairness.py measures it).

Records alone, because commands that read a gate's decision must import nothing heavy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

RateName = Literal["granted", "true_positive", "false_positive"]

MEASURES: Mapping[RateName, str] = {
    "granted": "share of requests that are granted",
    "true_positive": "share of positives that are flagged",
    "false_positive": "share of negatives that are flagged",
}


class GroupRate(msgspec.Struct, frozen=True):
    """A rate of one group.

    Attributes:
        group: Name of the group.
        rows: Rows behind the rate.
        value: The rate. None with fewer rows than `minimum_rows`.
    """

    group: str
    rows: int
    value: float | None


class RateGap(msgspec.Struct, frozen=True, kw_only=True):
    """The largest difference of one rate between two groups.

    Attributes:
        rate: The rate.
        groups: Every group.
        lowest: The group with the lowest rate. Empty when fewer than two groups are judged.
        highest: The group with the highest rate.
        value: Their difference, 0 to 1. None when fewer than two groups are judged.
        low: Lower end of the difference's interval.
        high: Upper end of the difference's interval.
        limit: Largest allowed difference.
        verdict: "veto" if the difference exceeds the limit and the interval lies above zero.
    """

    rate: RateName
    groups: tuple[GroupRate, ...]
    limit: float
    verdict: Literal["ok", "veto", "insufficient_data"]
    lowest: str = ""
    highest: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def words(self) -> str:
        """What was found, in a line."""
        few = [f"{one.group} ({one.rows})" for one in self.groups if one.value is None]
        left_out = f"too few rows: {', '.join(few)}" if few else ""
        if self.value is None:
            return left_out or "no groups are recorded"
        rates = {one.group: one.value or 0.0 for one in self.groups}
        found = (
            f"{self.lowest} {rates[self.lowest]:.1%}, {self.highest} {rates[self.highest]:.1%};"
            f" interval {self.low:+.1%} to {self.high:+.1%}"
        )
        within = self.value > self.limit and self.verdict == "ok"
        return "; ".join(
            [found, *(["within chance"] if within else []), *([left_out] if left_out else [])]
        )
