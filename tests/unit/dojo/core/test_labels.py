"""The latest outcome of a request counts, in any order of reading."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from dojo.core.labels import latest_labels

NOON = datetime(2030, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)

# Request, world time and wall time in hours after noon, label.
OUTCOMES = [
    ("r1", 1, 1, 0.0),
    ("r1", 3, 3, 1.0),  # corrected
    ("r1", 5, 5, 1.0),  # said again
    ("r2", 2, 2, 1.0),
    ("r2", 4, 4, 0.0),
    ("r2", 6, 6, 1.0),  # corrected back
    ("r3", 2, 9, 1.0),  # known at the same time, written down later
    ("r3", 2, 8, 0.0),
    ("r4", 2, 2, 37.5),
]


def frame(rows: list[tuple[str, int, int, float]]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            (request, NOON + HOUR * world, NOON + HOUR * wall, label)
            for request, world, wall, label in rows
        ],
        schema=["request_id", "world_time", "wall_time", "label"],
        orient="row",
    )


@given(st.permutations(OUTCOMES))
def test_the_latest_label_counts_and_the_first_one_ends_the_delay(
    rows: list[tuple[str, int, int, float]],
) -> None:
    for found in (latest_labels(frame(rows)), latest_labels(frame(rows).lazy()).collect()):
        labels = {
            request: (label, first)
            for request, label, first in found.select("request_id", "label", "first_known").rows()
        }
        assert labels == {
            "r1": (1.0, NOON + HOUR),
            "r2": (1.0, NOON + 2 * HOUR),
            "r3": (1.0, NOON + 2 * HOUR),
            "r4": (37.5, NOON + 2 * HOUR),
        }


def test_without_outcomes_there_are_no_labels() -> None:
    assert latest_labels(frame([]).cast({"world_time": pl.Datetime("us", "UTC")})).is_empty()
