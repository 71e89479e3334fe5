"""The label of a request, from all its outcomes in the lake.

A later outcome corrects an earlier one. A null label will never be known, because the request's
answer was acted on. Labels are then *selective*, and each one carries a weight.

The latest outcome known by a moment counts at that moment. The same label again changes nothing.
For streams `dojo/core/outcome_join.py: OutcomeJoin` follows the same rule.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

Frame = TypeVar("Frame", pl.DataFrame, pl.LazyFrame)

# A row without a weight is from before labels had one.
WEIGHT = pl.col("weight").fill_null(1.0)

# When a label became known, then when it was written down. The label itself makes the order total.
_ORDER = ("world_time", "wall_time", "label")


def weights_of(rows: pl.DataFrame) -> npt.NDArray[np.float64] | None:
    """Return the weight of each labelled row. None where each row stands for itself.

    Args:
        rows: With a column `weight`, or without one where labels have none.
    """
    if "weight" not in rows.columns:
        return None
    weights: npt.NDArray[np.float64] = rows.select(WEIGHT)["weight"].to_numpy()
    return weights if (weights > 1).any() else None


def standing_for(weights: npt.NDArray[np.float64] | None, rows: int) -> npt.NDArray[np.int64]:
    """Return row numbers, each as often as the number of like rows that it stands for, rounded.

    Distributions of these rows are those of all requests, and not only of the labelled ones.
    """
    numbers = np.arange(rows)
    return numbers if weights is None else np.repeat(numbers, np.rint(weights).astype(np.int64))


def in_order_known(outcomes: Frame) -> Frame:
    """Sort outcomes by when each became known.

    Args:
        outcomes: Lake columns, where `wall_time` may be left out.
    """
    names = outcomes.collect_schema().names()
    return outcomes.sort([column for column in _ORDER if column in names])


def latest_labels(outcomes: Frame) -> Frame:
    """Return the latest outcome of each request, and when its first one became known.

    Args:
        outcomes: Outcomes of one model, known by the moment in question. Lake columns, where
            `wall_time` may be left out.

    Returns:
        One row per request, with `first_known` added. A label's delay ends there, because a
        correction is no late label.
    """
    return (
        in_order_known(outcomes)
        .group_by("request_id", maintain_order=True)
        .agg(pl.all().last(), first_known=pl.col("world_time").first())
    )
