"""What one look measured of one subject, and how bad that is by itself."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from dojo.core.severity import Severity
from dojo.core.spec.monitoring import Levels


class Distances(msgspec.Struct, frozen=True, kw_only=True):
    """How far a window's column is from the reference, in measures beside PSI. They are evidence and decide nothing.

    Attributes:
        kullback_leibler: Of the window from the reference, nats.
        jensen_shannon: Bits, 0 to 1.
        ks: Lowest and highest Kolmogorov-Smirnov statistic that the counts allow, 0 to 1.
        wasserstein: Wasserstein-1 distance in the column's unit. None where the reference has no range.
        wasserstein_error: How far it can be from that of the raw values, in the column's unit.

    Source: dojo/stats/distances/divergence.py.
    """

    kullback_leibler: float
    jensen_shannon: float
    ks: tuple[float, float]
    wasserstein: float | None = None
    wasserstein_error: float | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """One subject in one window.

    Attributes:
        value: None without enough rows. noise: what chance reaches, in the value's unit; None where it has no part.
        levels: from which value on a severity begins. note: for people.
    """

    subject: str
    value: float | None
    levels: Levels
    rows: int
    noise: float | None = None
    note: str = ""
    distances: Distances | None = None

    @property
    def severity(self) -> Severity:
        """Of this window alone."""
        if self.value is None:
            return "insufficient_data"
        if self.noise is not None and self.value <= self.noise:
            return "ok"
        return level_of(self.value, self.levels)


def level_of(value: float, levels: Levels) -> Severity:
    """The severity that begins at or below a value."""
    for severity in ("critical", "severe", "warning"):
        if value >= getattr(levels, severity):
            return severity
    return "ok"
