"""The split in order of time: the past trains, the week after validates, the last two weeks judge.

A random split would put a compromised merchant's payments of one day into both training and
holdout. The result would look too good.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from dojo.core.labels import weights_of
from dojo.core.spec.schema import ModelSpec
from dojo.core.tasks.records import Answered
from dojo.core.tasks.specs import task_of
from feature_repo.catalog import ENTITY_KEYS
from pipelines.training.errors import UselessPartError


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one part, in order of time.

    Attributes:
        name: train, validation or holdout.
        inputs: Features exactly as served, float32, shape (rows, features).
        labels: Labels, shape (rows,).
        entities: Entity -> key of each row.
        times: World times in UTC, shape (rows,).
        weights: As in `Answered`.
    """

    name: str
    inputs: npt.NDArray[np.float32]
    labels: npt.NDArray[np.float64]
    entities: Mapping[str, npt.NDArray[np.str_]]
    times: npt.NDArray[np.datetime64]
    weights: npt.NDArray[np.float64] | None = None

    def answered(self, scores: npt.NDArray[np.float64]) -> Answered:
        """Add a version's scores, shape (rows,). Which rows it flags is not known yet."""
        return Answered(self.labels, scores, None, self.entities, self.times, self.weights)


@dataclass(frozen=True, slots=True)
class Split:
    train: Part
    validation: Part
    holdout: Part

    def parts(self) -> tuple[Part, Part, Part]:
        return self.train, self.validation, self.holdout


def split_by_time(
    dataset: pl.DataFrame, features: tuple[str, ...], end: datetime, spec: ModelSpec
) -> Split:
    """Cut `dataset` at end - holdout - validation and end - holdout.

    Args:
        dataset: Columns event_timestamp, label, the entities' keys and the features.
        features: Names of the model's features, in its order.
        end: World time after the last example.
        spec: The model's spec.

    Raises:
        UselessPartError: The labels of a part teach or show nothing.
    """
    first = dataset["event_timestamp"].min()
    begin = first if isinstance(first, datetime) else end
    return Split(
        *(
            part(name, dataset, features, spec, *span)
            for name, span in part_spans(spec, begin, end).items()
        )
    )


def part_spans(
    spec: ModelSpec, begin: datetime, end: datetime
) -> dict[str, tuple[datetime, datetime]]:
    """Start and end of the parts, in the order of `Split`."""
    holdout_start = end - spec.training.holdout
    validation_start = holdout_start - spec.training.validation
    return {
        "train": (begin, validation_start),
        "validation": (validation_start, holdout_start),
        "holdout": (holdout_start, end),
    }


def part_fault(
    name: str, labels: npt.NDArray[np.float64], spec: ModelSpec, start: datetime, end: datetime
) -> str:
    """Why nothing can be learned or measured on a part with these labels; "" when it can."""
    fault = task_of(spec).part_fault(labels)
    return f"{name}: from {start:%Y-%m-%d} to {end:%Y-%m-%d} {fault}" if fault else ""


def part(
    name: str,
    dataset: pl.DataFrame,
    features: tuple[str, ...],
    spec: ModelSpec,
    start: datetime,
    end: datetime,
) -> Part:
    """Return the rows with start <= event_timestamp < end. Raises UselessPartError."""
    rows = dataset.filter(pl.col("event_timestamp").is_between(start, end, closed="left")).sort(
        "event_timestamp", "request_id"
    )
    labels = rows["label"].to_numpy().astype(np.float64)
    if fault := part_fault(name, labels, spec, start, end):
        raise UselessPartError(fault)
    return Part(
        name=name,
        inputs=np.ascontiguousarray(rows.select(features).to_numpy(), dtype=np.float32),
        labels=labels,
        entities=entities_of(rows, spec),
        times=rows["event_timestamp"].dt.replace_time_zone(None).to_numpy(),
        weights=weights_of(rows),
    )


def entities_of(rows: pl.DataFrame, spec: ModelSpec) -> dict[str, npt.NDArray[np.str_]]:
    """Return the spec's entity -> key of each row, in the catalogue's order."""
    return {
        entity: rows[key].to_numpy()
        for entity, key in ENTITY_KEYS.items()
        if entity in spec.entities
    }
