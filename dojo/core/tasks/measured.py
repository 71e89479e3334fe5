"""The measurement of one subject at one look, and its own severity."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from dojo.core.severity import Severity
from dojo.core.spec.monitoring import Levels


class Distances(msgspec.Struct, frozen=True, kw_only=True):
    """How far a window's column is from the reference, in measures beside PSI.

    They are evidence and decide nothing.

    Attributes:
        kullback_leibler: Divergence of the window from the reference, nats.
        jensen_shannon: Divergence in bits, 0 to 1.
        ks: Lowest and highest Kolmogorov-Smirnov statistic allowed by the counts, 0 to 1. None for
            categories, which have no order.
        wasserstein: Wasserstein-1 distance in the column's unit. None where the reference has no
            range.
        wasserstein_error: Largest difference to the distance of the raw values, in the column's
            unit.

    Source: dojo/stats/distances/divergence.py.
    """

    kullback_leibler: float
    jensen_shannon: float
    ks: tuple[float, float] | None = None
    wasserstein: float | None = None
    wasserstein_error: float | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """One subject in one window.

    Attributes:
        subject: A feature, a view, a segment or a measure.
        value: The measured value. None without enough rows.
        levels: The value at which each severity begins.
        rows: Rows behind the value.
        noise: Level reached by chance, in the value's unit. None where chance plays no part.
        note: Explanation for people.
        distances: Other measures of the same counts. None where the value is no distance.
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
        """The severity of this window alone."""
        if self.value is None:
            return "insufficient_data"
        if self.noise is not None and self.value <= self.noise:
            return "ok"
        return level_of(self.value, self.levels)


def level_of(value: float, levels: Levels) -> Severity:
    """Return the highest severity that begins at or below a value."""
    for severity in ("critical", "severe", "warning"):
        if value >= getattr(levels, severity):
            return severity
    return "ok"
