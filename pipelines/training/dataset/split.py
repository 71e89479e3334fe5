"""The time-ordered split: the past teaches, the week after it chooses, the fortnight after that judges.

A random split would let a compromised terminal's other payments of the same day into training, and flatter the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from pipelines.training.errors import OneClassError


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one part, in time order: inputs float32 (rows, features), exactly as they are served; labels (rows,)."""

    name: str
    inputs: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int8]
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Split:
    train: Part
    validation: Part
    holdout: Part

    def parts(self) -> tuple[Part, Part, Part]:
        return self.train, self.validation, self.holdout


def split_by_time(
    dataset: pl.DataFrame, features: tuple[str, ...], end: datetime, validation: timedelta, holdout: timedelta
) -> Split:
    """Cut `dataset` (columns event_timestamp, label, features) at end - holdout - validation and end - holdout.

    Raises:
        OneClassError: a part holds no positive or nothing else.
    """
    first = dataset["event_timestamp"].min()
    begin = first if isinstance(first, datetime) else end
    holdout_start = end - holdout
    validation_start = holdout_start - validation
    return Split(
        train=part("train", dataset, features, begin, validation_start),
        validation=part("validation", dataset, features, validation_start, holdout_start),
        holdout=part("holdout", dataset, features, holdout_start, end),
    )


def part(name: str, dataset: pl.DataFrame, features: tuple[str, ...], start: datetime, end: datetime) -> Part:
    """The rows with start <= event_timestamp < end. Raises OneClassError."""
    rows = dataset.filter(pl.col("event_timestamp").is_between(start, end, closed="left")).sort("event_timestamp", "request_id")
    labels = rows["label"].to_numpy().astype(np.int8)
    positives = int(labels.sum())
    if positives in (0, len(labels)):
        raise OneClassError(
            f"{name}: expected positives and negatives from {start:%Y-%m-%d} to {end:%Y-%m-%d}, "
            f"found {positives:,} positives in {len(labels):,} rows"
        )
    inputs = np.ascontiguousarray(rows.select(features).to_numpy(), dtype=np.float32)
    return Part(name=name, inputs=inputs, labels=labels, start=start, end=end)
