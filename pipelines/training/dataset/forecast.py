"""What training will refuse of events that no world has lived yet.

The rules are those of its first steps, asked of rows instead of a lake.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from dojo.core.lake import midnight
from dojo.core.spec.durations import format_duration
from dojo.core.spec.schema import ModelSpec
from dojo.core.tasks.specs import task_of
from feature_repo import catalog
from pipelines.training.dataset.collect import examples_span, row_fault
from pipelines.training.dataset.split import part_fault, part_spans


def refusals(requests: pl.DataFrame, spec: ModelSpec, as_of: datetime) -> list[str]:
    """Why a version that is trained as of `as_of` would be refused, a line for each reason.

    Empty: no reason is known.

    Args:
        requests: Every event that requests are about, with world_time, the inputs and its `label`.
        as_of: World time, timezone-aware.
    """
    return [f"{spec.name}: {reason}" for reason in _reasons(requests, spec, as_of)]


def _reasons(requests: pl.DataFrame, spec: ModelSpec, as_of: datetime) -> Iterator[str]:
    stream, training = catalog.recorded_requests(spec.feature_service).stream, spec.training
    request = catalog.SERVICES[spec.feature_service].request
    for one in (one for one in request.inputs if not one.is_category):
        outside = requests.filter(~pl.col(one.name).is_between(*one.bounds))[one.name].to_numpy()
        if len(outside):
            bounds = catalog.bounds_of(spec.feature_service, one.name)
            yield (
                f"{stream}.{one.name}: expected {bounds}, found {outside[0]:,} (rows:"
                f" {len(outside):,})"
            )

    lived = requests.filter(pl.col("world_time") < as_of)
    first = lived["world_time"].min()
    begin = midnight(first) if isinstance(first, datetime) else as_of
    start, end = examples_span(spec, begin.date(), as_of)
    needed = training.validation + training.holdout + spec.label.delay.maximum
    if as_of - begin <= needed:
        set_by = "spec: training.validation, spec: training.holdout and spec: label.delay.maximum"
        yield (
            f"expected {stream} of more than {format_duration(needed)} before {as_of:%Y-%m-%d}"
            f" ({set_by}), found {format_duration(as_of - begin)}"
        )
        return
    examples = lived.filter(pl.col("world_time").is_between(start, end, closed="left"))
    if fault := row_fault(spec, stream, len(examples), as_of, start, end):
        yield fault
    yield from task_of(spec).label_faults(_labels(examples))
    for name, span in part_spans(spec, start, end).items():
        of_part = examples.filter(pl.col("world_time").is_between(*span, closed="left"))
        if fault := part_fault(name, _labels(of_part), spec, *span):
            yield fault


def _labels(rows: pl.DataFrame) -> npt.NDArray[np.float64]:
    return rows["label"].to_numpy().astype(np.float64)
