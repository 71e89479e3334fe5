"""Where transactions come from.

A source is a pure function of the day: asking twice, or in another process after a crash, gives the same rows. That is what
makes history, live traffic, restarts and re-runs agree without any record of what was generated.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Protocol

import polars as pl


class Source(Protocol):
    """Transactions by day."""

    def day(self, day: date) -> pl.DataFrame:
        """The day's transactions (UTC), columns of dojo.shop.datasets.TRANSACTION_SCHEMA, sorted by time; empty outside `days()`."""

    def days(self) -> tuple[date, date | None]:
        """First and last day; None: endless."""

    def identity(self) -> Mapping[str, object]:
        """What decides the rows, as small JSON values: two sources with equal identities give equal days."""
