"""Attention in lists, and the weights of labels."""

from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from dojo.shop.events import LONGEST_LIST
from dojo.shop.lists import ATTENTION, last_seen, weight

UNITS = st.floats(1e-9, 1.0)


@given(st.floats(0.0, 1.0), UNITS)
def test_a_click_happens_up_to_the_last_position_that_enough_people_look_at(
    chance: float, draw: float
) -> None:
    (last,) = last_seen(np.array([chance]), np.array([draw])).tolist()
    for position in range(1, LONGEST_LIST + 1):
        looked = draw / max(chance, np.finfo(float).tiny) <= ATTENTION[position - 1]
        assert (position <= last) == looked


def test_who_looks_everywhere_always_clicks_and_what_nobody_wants_never_is() -> None:
    assert last_seen(np.array([1.0, 0.0]), np.array([1e-6, 0.5])).tolist() == [LONGEST_LIST, 0]


def test_a_weight_is_one_of_how_many_look_and_one_without_a_position() -> None:
    rows = pl.DataFrame({"position": [1, 8, LONGEST_LIST, None]})
    found = rows.select(weight(pl.col("position")).alias("weight"))["weight"].to_list()
    assert np.allclose(found, [1.0, 1 / ATTENTION[7], 1 / ATTENTION[-1], 1.0])
