"""Where transactions come from.

A source is a pure function of the day. Asking twice, or in another process after a crash, gives the
same rows. So history, live traffic, restarts and re-runs agree without any record of what was
generated.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Protocol

import polars as pl


class Scene(Protocol):
    """What else happens on a day, such as the orders behind payments. Pure, like a source."""

    def day(self, day: date, payments: pl.DataFrame) -> pl.DataFrame:
        """The day's events (UTC), sorted by time.

        Args:
            payments: `Source.day` of the same day.

        Returns:
            The columns of the stream's event (dojo/shop/events.py), with `time` in place of
            `world_time`. Then the hidden columns of its truths (dojo/shop/truths.py).
        """


class Source(Protocol):
    """Transactions by day.

    Attributes:
        scenes: Stream -> what else happens in this world.
    """

    scenes: Mapping[str, Scene]

    def day(self, day: date) -> pl.DataFrame:
        """The day's transactions (UTC), sorted by time, empty outside `days()`.

        It has the columns of dojo.shop.datasets.TRANSACTION_SCHEMA.
        """

    def days(self) -> tuple[date, date | None]:
        """First and last day. None is endless."""

    def identity(self) -> Mapping[str, object]:
        """What decides the rows, as small JSON values.

        Two sources with equal identities give equal days.
        """
