"""The bins of all columns of one reference. They are fixed, shared by every window and hashed."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

Edges = Sequence[float] | npt.NDArray[np.float64]

# Up to this many edges, comparing all rows with each edge (vectorised) is faster than a binary
# search per value.
FEW_EDGES = 32


class BinPlan:
    """The bins of some columns, in the order of the rows' values.

    All windows measured against one reference share it.

    Attributes:
        names: Names of the columns.
        edges: Inner edges per column.
        low: Smallest plausible value per column, shape (columns,).
        high: Largest plausible value per column, shape (columns,).
        fingerprint: Hash of all these. It lets counts over other bins be refused instead of added.
    """

    def __init__(
        self,
        edges: Mapping[str, Edges],
        low: Mapping[str, float] | None = None,
        high: Mapping[str, float] | None = None,
    ) -> None:
        """Check the bins and prepare the arrays for counting.

        Args:
            edges: Strictly increasing finite edges per column, at least one
                (`binning.quantile_edges`).
            low: Smallest plausible value per column. A column left out has no lower limit.
            high: Largest plausible value per column. A column left out has no upper limit.

        Raises:
            ValueError: There are no columns, edges do not increase, a range names an unknown
                column, or low is above high.
        """
        if not edges:
            raise ValueError("a plan needs columns, got none")
        self.names = tuple(edges)
        self.edges = tuple(tuple(float(edge) for edge in column) for column in edges.values())
        for name, column in zip(self.names, self.edges, strict=True):
            if not column or not np.isfinite(column).all() or not (np.diff(column) > 0).all():
                raise ValueError(
                    f"{name}: edges must be finite and strictly increasing, at least one, got"
                    f" {column}"
                )
        self.low = self._bounds("low", low or {}, -math.inf)
        self.high = self._bounds("high", high or {}, math.inf)
        if (wrong := np.flatnonzero(self.low > self.high)).size:
            raise ValueError(
                f"{self.names[wrong[0]]}: low {self.low[wrong[0]]:g} is above high"
                f" {self.high[wrong[0]]:g}"
            )
        self.bins = np.array([len(column) + 1 for column in self.edges])
        self.width = int(self.bins.max())
        # One row per edge number. Columns with fewer edges have inf there, and no value exceeds
        # inf.
        self.padded = np.full((self.width - 1, len(self.names)), np.inf)
        for at, column in enumerate(self.edges):
            self.padded[: len(column), at] = column
        self.centre = np.array([centre(column) for column in self.edges])
        self.offsets = np.arange(len(self.names), dtype=np.int64) * self.width
        described = msgspec.json.encode(
            (self.names, self.edges, self.low.tolist(), self.high.tolist())
        )
        self.fingerprint = hashlib.sha256(
            described + np.array([self.low, self.high]).tobytes()
        ).hexdigest()[:16]

    def bin_numbers(self, x: npt.NDArray[np.float64]) -> npt.NDArray[np.integer]:
        """Return the bin of each value within its column. NaN is in the first bin.

        Argument and result have shape (rows, columns).
        """
        if self.width - 1 <= FEW_EDGES:
            numbers: npt.NDArray[np.integer] = np.zeros(x.shape, dtype=np.uint8)
            for edge in self.padded:
                numbers += x > edge
            return numbers
        columns = [
            np.searchsorted(edges, np.where(np.isnan(x[:, at]), -np.inf, x[:, at]), side="left")
            for at, edges in enumerate(self.edges)
        ]
        return np.stack(columns, axis=1)

    def _bounds(
        self, what: str, given: Mapping[str, float], otherwise: float
    ) -> npt.NDArray[np.float64]:
        if unknown := set(given) - set(self.names):
            raise ValueError(f"{what} names columns that have no edges: {sorted(unknown)}")
        return np.array([given.get(name, otherwise) for name in self.names], dtype=np.float64)


def centre(edges: Sequence[float]) -> float:
    """Return the middle edge, a value near the data. Sums are taken relative to it."""
    return edges[len(edges) // 2]
