"""The reference profile: the training-time distribution of each input and of the score, which drift is measured against.

Fixed quantile edges with open outer ends (dojo/statistics/binning.py says why). Taken from the holdout: rows the model has not
learned from, so its scores on them are honest, and the most recent ones, so that features and score describe the same fortnight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from dojo.statistics.binning import bin_counts, quantile_edges

BINS = 10  # ten bins resolve a shift of half a standard deviation and need only ~300 rows per check (FACTS)


class Distribution(msgspec.Struct, frozen=True):
    """Counts over (-inf, edges[0]], (edges[0], edges[1]], ..., (edges[-1], inf): one more count than edges."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    mean: float
    std: float


class ReferenceProfile(msgspec.Struct, frozen=True):
    """Attributes: rows: how many were counted. features: in the model's input order. score: of the positive class."""

    rows: int
    features: dict[str, Distribution]
    score: Distribution

    def write(self, path: Path) -> None:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1))

    @staticmethod
    def read(path: Path) -> ReferenceProfile:
        return msgspec.json.decode(path.read_bytes(), type=ReferenceProfile)


def reference_profile(
    names: Sequence[str], inputs: npt.NDArray[np.float32], scores: npt.NDArray[np.floating]
) -> ReferenceProfile:
    """The profile of rows. inputs: shape (rows, features), as the model sees them; scores: shape (rows,)."""
    features: Mapping[str, Distribution] = {name: distribution(inputs[:, i]) for i, name in enumerate(names)}
    return ReferenceProfile(rows=len(inputs), features=dict(features), score=distribution(scores))


def distribution(values: npt.NDArray[np.floating]) -> Distribution:
    """One column's distribution. Raises ValueError for no rows or values that are not finite."""
    exact = np.asarray(values, dtype=np.float64)
    edges = quantile_edges(exact, BINS)
    return Distribution(
        edges=tuple(edges.tolist()),
        counts=tuple(bin_counts(exact, edges).tolist()),
        mean=float(exact.mean()),
        std=float(exact.std()),
    )
