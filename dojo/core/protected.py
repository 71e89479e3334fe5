"""A protected attribute, joined to requests for audits alone.

No request, feature, prediction or data set has it. It is a column of the recorded events.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from dojo.core.judging.fairness import NOT_STATED, gaps_of
from dojo.core.judging.gaps import RateGap
from dojo.core.lake import Lake
from dojo.core.spec.schema import ModelSpec
from dojo.core.tasks.records import Answered


def groups_of_requests(events: pl.LazyFrame, key: str, attribute: str) -> pl.DataFrame:
    """Return the group of each recorded request. Columns: request_id, group.

    Args:
        events: Lake rows of the events behind the requests.
        key: Column that names the request.
        attribute: Column of the attribute. Empty or null is NOT_STATED.
    """
    stated = pl.col(attribute).fill_null("")
    group = pl.when(stated == "").then(pl.lit(NOT_STATED)).otherwise(stated)
    return (
        events.select(pl.col(key).alias("request_id"), group=group)
        .unique("request_id", keep="first", maintain_order=True)
        .collect()
    )


def rows_by_group(rows: pl.DataFrame, groups: pl.DataFrame) -> dict[str, npt.NDArray[np.int64]]:
    """Return the row numbers of each group, in order of the names.

    Args:
        rows: With a column request_id. A request without a recorded event is in no group.
        groups: As from `groups_of_requests`.
    """
    joined = rows.select("request_id").join(
        groups, on="request_id", how="left", maintain_order="left"
    )
    found = joined["group"].to_numpy()
    return {
        name: np.flatnonzero(found == name)
        for name in sorted(joined["group"].drop_nulls().unique())
    }


def live_gaps(lake: Lake, spec: ModelSpec, key: str, judged: pl.DataFrame) -> tuple[RateGap, ...]:
    """Return how far apart a regulated model's live answers for two groups are.

    What is granted needs no labels, so it is known long before the other rates.

    Args:
        lake: The lake with the requests' events.
        spec: The model's spec.
        key: Field that names the label's events.
        judged: Rows of dojo.core.performance.judged_predictions.
    """
    if spec.regulated is None or judged.is_empty():
        return ()
    groups = groups_of_requests(lake.scan(spec.label.event), key, spec.regulated.protected)
    answered = Answered(
        labels=judged["label"].cast(pl.Float64).fill_null(np.nan).to_numpy(),
        scores=judged["score"].to_numpy(),
        flagged=judged["flagged"].fill_null(value=False).to_numpy(),
        # A person makes several requests, and these resemble each other.
        entities={"person": judged["entity_keys"].rank("dense").to_numpy().astype(np.int64)},
    )
    return gaps_of(spec, answered, rows_by_group(judged, groups))
