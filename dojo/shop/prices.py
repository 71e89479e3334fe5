"""How the shop sets the price of a product for a day: it asks for the demand at several prices.

The best price has the highest margin times demand. Only the demand at that price shows later. A
model that sets all prices would learn from its own choices alone. So chance takes a share of the
prices.

Source: den Boer, Dynamic pricing and learning (2015), for the choice and the need of chance.
"""

from __future__ import annotations

from collections.abc import Sequence

# Prices that the shop considers, as multiples of the regular one.
LEVELS = (0.9, 1.0, 1.1)

# What a product costs the shop, a fraction of its regular price.
COST = 0.6

# Share of the offers with a price by chance.
BY_CHANCE = 0.1


def gain_euro(price: float, units: float, own_price: float, own_units: float, cost: float) -> float:
    """Return the profit of an offer against that of the price that chance would take, euro.

    Args:
        price: The offered price, euro.
        units: Sold at it.
        own_price: The price that chance takes, euro.
        own_units: Units that would be sold at that.
        cost: Of a unit, euro.
    """
    return round((price - cost) * units - (own_price - cost) * own_units, 2)


def best_price(prices: Sequence[float], demand: Sequence[float], cost: float) -> int:
    """Return the number of the price with the highest expected profit, the lowest of equal ones.

    Args:
        prices: Euro.
        demand: Expected units at each price.
        cost: Of a unit, euro.
    """
    profit = [(price - cost) * max(units, 0.0) for price, units in zip(prices, demand, strict=True)]
    return max(range(len(prices)), key=lambda at: (profit[at], -prices[at]))
