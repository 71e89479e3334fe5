"""How a route draws an arm for a request: by what key, and with which shares.

A part of a route (`routes.py`). Everything that decides is in the route and in the prediction's
event. So each draw can be repeated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec


class ContextInput(msgspec.Struct, frozen=True):
    """One input of a model as a bandit sees it: (value - usual) / spread, within REACH.

    Attributes:
        usual: Value that becomes 0, in the input's unit.
        spread: Difference that becomes 1, in the input's unit.
    """

    name: str
    usual: float
    spread: float


# Rare values count as this many spreads, so that one rich customer does not bend the line.
REACH = 3.0


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """How the arms' shares depend on the request.

    Attributes:
        inputs: The inputs that decide, all among the model's features.
        floors: Arm -> smallest share. Arms that are not named get nothing.
        draws: Coefficients of the arms in `floors`, in that order, shape (draws, arms, 1 + inputs).
            The first coefficient is the intercept.
    """

    inputs: tuple[ContextInput, ...]
    floors: dict[str, float]
    draws: tuple[tuple[tuple[float, ...], ...], ...]

    def values(self, row: Mapping[str, float]) -> list[float]:
        """Return the context of a request, beginning with 1. A missing input counts as usual."""
        return context_values(self.inputs, row)

    def weights(self, row: Mapping[str, float]) -> dict[str, float]:
        """Return each arm's share for a request.

        Args:
            row: Feature name -> value, as in the prediction's event.
        """
        # Here, because commands that only read routes need no NumPy.
        import numpy as np

        from dojo.stats.inference.bandits import above_floors
        from dojo.stats.inference.linear_bandits import best_shares

        shares = best_shares(np.array(self.draws), np.array([self.values(row)]))[0]
        bounded = above_floors(shares, np.array(list(self.floors.values())))
        return dict(zip(self.floors, bounded.tolist(), strict=True))


def context_values(inputs: Sequence[ContextInput], row: Mapping[str, float]) -> list[float]:
    """Return 1 and the scaled inputs of a row."""
    scaled = [(row.get(one.name, math.nan) - one.usual) / one.spread for one in inputs]
    return [1.0, *(0.0 if math.isnan(x) else min(max(x, -REACH), REACH) for x in scaled)]


class Draw(msgspec.Struct, frozen=True, kw_only=True):
    """How a request comes to its place on [0, 1), and what the arms' parts depend on.

    Attributes:
        sticky: True if the first entity decides, and keeps its arm. False if each request is drawn
            anew by its id. A request without an id is drawn by its entity.
        context: What the shares depend on. None for the arms' weights alone.
    """

    sticky: bool = True
    context: Context | None = None
