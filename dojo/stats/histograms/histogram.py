"""Streaming histograms over fixed bins: what a window of world time knows of each column, however many rows it saw.

Counts add: two processes' halves make the whole, 24 hours make a day, and a late row goes where it belongs. Memory is O(bins) per
column. Bins are those of `binning`: (-inf, e1], (e1, e2], ..., (en, inf), cut once at the reference's quantiles.

A `BinPlan` (bin_plan.py) is shared by all windows of one reference; each window has a `MatrixHistogram`, which counts all columns at once (39 columns
take about a microsecond a row in batches of hundreds). `Histogram` is one column of it, as plain values that print and store.

What a bin keeps is how many, not which: a move within one bin is not seen. PSI over ten quantile bins sees a shift of a tenth of a standard
deviation all the same (PSI 0.01), given the rows to tell it from chance (`psi_noise`).
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
import numpy.typing as npt

from dojo.stats.histograms.bin_plan import BinPlan, centre

Matrix = npt.NDArray[np.float64] | npt.NDArray[np.float32]
Counts = npt.NDArray[np.int64]

# Rows counted at a time: a slice of 40 columns and its bin numbers fit a core's second-level cache, which is twice as fast as one pass.
CHUNK_ROWS = 2048


class MismatchError(ValueError):
    """Two histograms that cannot be added: they were counted over different bins."""


class Histogram(msgspec.Struct, frozen=True, kw_only=True):
    """One column's distribution, as plain values.

    Attributes:
        edges: inner edges, strictly increasing. counts: rows per bin, one more than edges; nulls are in none of them.
        nulls: rows without a value (NaN). out_of_range: rows outside the plan's [low, high], infinite ones included; they are in the
            outer bins too.
        finite: rows with a finite value; total, squares: of those, the sums of (value - centre) and of its square, where `centre` is the
            middle edge: near the data, so that squares lose no digits to a large mean. minimum, maximum: of those; None without any.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    nulls: int
    out_of_range: int
    finite: int
    total: float
    squares: float
    minimum: float | None
    maximum: float | None

    @property
    def rows(self) -> int:
        return sum(self.counts) + self.nulls

    @property
    def mean(self) -> float:
        """In the column's unit; NaN without finite values."""
        return centre(self.edges) + self.total / self.finite if self.finite else math.nan

    @property
    def std(self) -> float:
        """Population standard deviation in the column's unit; NaN without finite values."""
        if not self.finite:
            return math.nan
        return math.sqrt(max(0.0, self.squares / self.finite - (self.total / self.finite) ** 2))


class _StoredHistogram(msgspec.Struct, array_like=True, frozen=True):
    """A MatrixHistogram as bytes (MessagePack). The arrays are little-endian, C order."""

    fingerprint: str
    rows: int
    counts: bytes
    integers: bytes
    floats: bytes


class MatrixHistogram:
    """Counts of all columns of a plan. One per window; a few kilobytes, whatever the number of rows.

    Attributes:
        rows: added so far. counts: shape (columns, plan.width); a column with fewer bins has zeros behind them.
        nulls, out_of_range, finite, total, squares, minimum, maximum: shape (columns,), as in `Histogram`, except that
            minimum and maximum are inf and -inf without finite values.
    """

    def __init__(self, plan: BinPlan) -> None:
        columns = len(plan.names)
        self.plan = plan
        self.rows = 0
        self.counts: Counts = np.zeros((columns, plan.width), dtype=np.int64)
        self.nulls, self.out_of_range, self.finite = (np.zeros(columns, dtype=np.int64) for _ in range(3))
        self.total, self.squares = np.zeros(columns), np.zeros(columns)
        self.minimum, self.maximum = np.full(columns, np.inf), np.full(columns, -np.inf)

    def add(self, matrix: Matrix) -> None:
        """Count rows.

        Args:
            matrix: shape (rows, columns), in the plan's order; NaN is a null. Of the precision that the edges were cut at: 57.16 as float64 is
                above an edge at the float32 of 57.16, so what a model sees as float32 is to be added as float32.

        Raises:
            ValueError: another number of columns; nothing was counted.
        """
        if matrix.ndim != 2 or matrix.shape[1] != len(self.plan.names):
            raise ValueError(f"expected shape (rows, {len(self.plan.names)}), got {matrix.shape}")
        for start in range(0, len(matrix), CHUNK_ROWS):
            # Row-major whatever came in: the passes below go along rows.
            self._add_chunk(np.ascontiguousarray(matrix[start : start + CHUNK_ROWS], dtype=np.float64))

    def merge(self, other: MatrixHistogram) -> None:
        """Add another histogram's rows, which must not overlap with these. Counts are exact in any order, sums to rounding.

        Raises:
            MismatchError: counted by another plan.
        """
        if self.plan.fingerprint != other.plan.fingerprint:
            raise MismatchError(f"counted over other bins: plan {other.plan.fingerprint}, expected {self.plan.fingerprint}")
        self.rows += other.rows
        self.counts += other.counts
        self.nulls += other.nulls
        self.out_of_range += other.out_of_range
        self.finite += other.finite
        self.total += other.total
        self.squares += other.squares
        np.minimum(self.minimum, other.minimum, out=self.minimum)
        np.maximum(self.maximum, other.maximum, out=self.maximum)

    def column(self, name: str) -> Histogram:
        """One column. Raises KeyError for a name that the plan does not have."""
        if name not in self.plan.names:
            raise KeyError(f"{name}: the plan has {', '.join(self.plan.names)}")
        at = self.plan.names.index(name)
        return Histogram(
            edges=self.plan.edges[at],
            counts=tuple(self.counts[at, : self.plan.bins[at]].tolist()),
            nulls=int(self.nulls[at]),
            out_of_range=int(self.out_of_range[at]),
            finite=int(self.finite[at]),
            total=float(self.total[at]),
            squares=float(self.squares[at]),
            minimum=float(self.minimum[at]) if self.finite[at] else None,
            maximum=float(self.maximum[at]) if self.finite[at] else None,
        )

    def to_bytes(self) -> bytes:
        """For a restart or another process; the plan is not in it, only its fingerprint."""
        integers = np.stack([self.nulls, self.out_of_range, self.finite]).astype("<i8")
        floats = np.stack([self.total, self.squares, self.minimum, self.maximum]).astype("<f8")
        stored = _StoredHistogram(
            self.plan.fingerprint, self.rows, self.counts.astype("<i8").tobytes(), integers.tobytes(), floats.tobytes()
        )
        return msgspec.msgpack.encode(stored)

    @staticmethod
    def from_bytes(plan: BinPlan, content: bytes) -> MatrixHistogram:
        """Inverse of `to_bytes`.

        Raises:
            MismatchError: counted by another plan.
            ValueError: no stored histogram, or a damaged one.
        """
        try:
            stored = msgspec.msgpack.decode(content, type=_StoredHistogram)
        except msgspec.MsgspecError as error:
            raise ValueError(f"no stored histogram: {error}") from error
        if stored.fingerprint != plan.fingerprint:
            raise MismatchError(f"counted over other bins: plan {stored.fingerprint}, expected {plan.fingerprint}")
        found = MatrixHistogram(plan)
        columns = len(plan.names)
        counts = np.frombuffer(stored.counts, "<i8").astype(np.int64)
        integers = np.frombuffer(stored.integers, "<i8").astype(np.int64)
        floats = np.frombuffer(stored.floats, "<f8").astype(np.float64)
        found.rows = stored.rows
        found.counts = counts.reshape(columns, plan.width)
        found.nulls, found.out_of_range, found.finite = integers.reshape(3, columns)
        found.total, found.squares, found.minimum, found.maximum = floats.reshape(4, columns)
        return found

    def _add_chunk(self, x: npt.NDArray[np.float64]) -> None:
        plan = self.plan
        self.rows += len(x)
        # Nulls compare as false with every edge, so they are in each column's first bin until they are taken out.
        self.counts += np.bincount(
            (plan.bin_numbers(x) + plan.offsets).ravel(), minlength=len(plan.names) * plan.width
        ).reshape(self.counts.shape)
        self.out_of_range += np.count_nonzero((x < plan.low) | (x > plan.high), axis=0)
        finite = np.isfinite(x)
        if finite.all():
            self.finite += len(x)
            np.minimum(self.minimum, x.min(axis=0), out=self.minimum)
            np.maximum(self.maximum, x.max(axis=0), out=self.maximum)
            centred = x - plan.centre
        else:
            nulls = np.count_nonzero(np.isnan(x), axis=0)
            self.nulls += nulls
            self.counts[:, 0] -= nulls
            infinite = np.isinf(x)
            # Infinite is implausible even without a range; those beyond one are counted above.
            self.out_of_range += np.count_nonzero(infinite & (x >= plan.low) & (x <= plan.high), axis=0)
            self.finite += np.count_nonzero(finite, axis=0)
            np.minimum(self.minimum, np.where(finite, x, np.inf).min(axis=0), out=self.minimum)
            np.maximum(self.maximum, np.where(finite, x, -np.inf).max(axis=0), out=self.maximum)
            centred = np.where(finite, x - plan.centre, 0.0)
        self.total += centred.sum(axis=0)
        self.squares += np.einsum("ij,ij->j", centred, centred)
