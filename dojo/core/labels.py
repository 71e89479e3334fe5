"""The label of a request, from all its outcomes in the lake.

A later outcome corrects an earlier one.

The latest outcome known by a moment counts at that moment. The same label again changes nothing.
For streams `dojo/core/outcome_join.py: OutcomeJoin` follows the same rule.
"""

from __future__ import annotations

from typing import TypeVar

import polars as pl

Frame = TypeVar("Frame", pl.DataFrame, pl.LazyFrame)

# When a label became known, then when it was written down. The label itself makes the order total.
_ORDER = ("world_time", "wall_time", "label")


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
