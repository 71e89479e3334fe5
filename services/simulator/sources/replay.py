"""Real transactions, as they happened, day by day, from a file that `dojo data import` wrote."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl

from dojo.core.lake import file_sha256
from dojo.shop.datasets import TRANSACTION_SCHEMA, DatasetError
from dojo.shop.events import TRANSACTIONS
from services.simulator.sources.source import Scene


class ReplaySource:
    """Days of an imported file, each read when it is asked for.

    The file is sorted by time and written in row groups of a few days
    (`importing.ROW_GROUP_ROWS`). So a day costs the reading of one or two row groups, and memory
    holds days, not the file.

    Raises:
        DatasetError: The file is missing, empty or has other columns.
    """

    stream = TRANSACTIONS  # what a file records

    def __init__(self, path: Path) -> None:
        self.scenes: Mapping[str, Scene] = {}  # a file has payments alone
        self._path = path
        self._rows = pl.scan_parquet(path, glob=False)
        try:
            if dict(self._rows.collect_schema()) != TRANSACTION_SCHEMA:
                raise DatasetError(
                    f"{path}: not a file that `dojo data import` wrote: import it first"
                )
            first, last = (
                self._rows.select(
                    pl.col("time").min().alias("first"), pl.col("time").max().alias("last")
                )
                .collect()
                .row(0)
            )
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DatasetError(
                f"{path}: cannot be replayed: {str(error).splitlines()[0]}"
            ) from error
        if first is None:
            raise DatasetError(f"{path}: holds no transactions")
        self._days = (first.date(), last.date())
        self._sha256 = file_sha256(path)

    def day(self, day: date) -> pl.DataFrame:
        start = datetime(day.year, day.month, day.day, tzinfo=UTC)
        return self._rows.filter(
            pl.col("time") >= start, pl.col("time") < start + timedelta(days=1)
        ).collect()

    def days(self) -> tuple[date, date | None]:
        return self._days

    def identity(self) -> Mapping[str, object]:
        return {"source": "replay", "dataset_sha256": self._sha256}
