"""The price that the shop takes."""

from __future__ import annotations

import pytest

from dojo.shop.prices import best_price

PRICES = (9.0, 10.0, 11.0)


@pytest.mark.parametrize(
    ("demand", "cost", "best"),
    [
        ((10, 8, 5), 6.0, 1),  # profits of 30, 32 and 25
        ((10, 7, 5), 6.0, 0),
        ((10, 10, 10), 6.0, 2),
        ((0, 0, 0), 6.0, 0),  # equal, so the lowest price
        ((-5, -1, -9), 6.0, 0),  # a regression may answer below 0
        ((10, 10, 0), 12.0, 2),  # each unit is a loss
    ],
)
def test_the_highest_expected_profit_wins(
    demand: tuple[float, ...], cost: float, best: int
) -> None:
    assert best_price(PRICES, demand, cost) == best
