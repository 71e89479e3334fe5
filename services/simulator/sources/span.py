"""Which days of a world are its past. History is built at once, the rest is lived."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from services.simulator.sources.source import Source

# The end of every synthetic world's history. It is fixed, so that a seed names one world on every
# machine and in every year. It is a Monday, so live traffic begins with a whole week.
SYNTHETIC_HISTORY_END = date(2025, 1, 6)

# The last days of a replayed file are kept for live traffic. They are a week, or an eighth of a
# file of less than eight weeks.
LIVE_DAYS = 7
LIVE_SHARE = 8


class TooShortError(ValueError):
    """A replay file with too few days for a past and a present."""


@dataclass(frozen=True, slots=True)
class Span:
    """History holds the days from `start` to before `end`.

    Live traffic begins at `end`, 00:00 UTC.
    """

    start: date
    end: date

    @property
    def days(self) -> list[date]:
        return [self.start + timedelta(days=n) for n in range((self.end - self.start).days)]


def history_span(source: Source, history_days: int) -> Span:
    """The past of a new world over `source`, `history_days` long or as long as the source has.

    Raises:
        TooShortError: The source has a single day.
    """
    first, last = source.days()
    if last is None:
        end = SYNTHETIC_HISTORY_END
    else:
        length = (last - first).days + 1
        if length < 2:
            raise TooShortError(
                f"the file holds one day ({first}); a replay needs at least two: one of history,"
                " one to live"
            )
        end = (
            last + timedelta(days=1) - timedelta(days=min(LIVE_DAYS, max(1, length // LIVE_SHARE)))
        )
    return Span(max(first, end - timedelta(days=history_days)), end)
