"""Shown items are counted by bin, and their concentration is a number of items."""

from __future__ import annotations

import numpy as np
import pytest

from dojo.core.tasks.item_bins import equal_items, item_bins, item_histogram


@pytest.mark.parametrize(
    ("counts", "equal"),
    [([50, 50, 0], 2.02), ([1000] * 8, 8.0), ([100, 0, 0], 1.0), ([1, 1, 1], np.inf)],
)
def test_concentration_is_a_number_of_equally_frequent_bins(
    counts: list[int], equal: float
) -> None:
    assert equal_items(np.array(counts)) == pytest.approx(equal, rel=0.01)


def test_concentration_does_not_depend_on_the_number_of_rows() -> None:
    random, share = np.random.default_rng(5), np.arange(1, 51) / 1275
    few, many = (
        np.mean([equal_items(item_histogram(random.choice(50, count, p=share))) for _ in range(60)])
        for count in (60, 3000)
    )
    assert few == pytest.approx(many, rel=0.06)


def test_an_items_bin_is_the_same_in_every_process_and_bins_fill_evenly() -> None:
    assert item_bins(["P00001", 7]).tolist() == item_bins(["P00001", "7"]).tolist() == [42, 2]
    counts = item_histogram(f"P{number:05}" for number in range(6400))
    assert counts.sum() == 6400
    assert counts.min() > 60
