"""Streaming histograms over fixed bins.

A window of world time keeps them, however many rows it saw.

Counts add. The halves of two processes make the whole, and 24 hours make a day. A late row still
counts in its own window. Memory is O(bins) per column. Bins come from `binning`, cut once at the
reference's quantiles: (-inf, e1], (e1, e2], ..., (en, inf).

All windows of one reference share a `BinPlan` (bin_plan.py). Each window has a `MatrixHistogram`,
which counts all columns at once. In batches of hundreds, 39 columns take about a microsecond a row.
`Histogram` is one of its columns, as plain values for printing and storing.

A bin keeps the number of rows and not their values, so a move within one bin is not seen. PSI over
ten quantile bins still sees a shift of a tenth of a standard deviation (PSI 0.01). It needs enough
rows to tell this from chance (`psi_noise`).
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
import numpy.typing as npt

from dojo.stats.histograms.bin_plan import BinPlan, centre

Matrix = npt.NDArray[np.float64] | npt.NDArray[np.float32]
Counts = npt.NDArray[np.int64]

# Rows counted at a time. A slice of 40 columns and its bin numbers then fit a core's second-level
# cache. That is twice as fast as one pass over all rows.
CHUNK_ROWS = 2048


class MismatchError(ValueError):
    """Two histograms cannot be added, because they were counted over different bins."""


class Histogram(msgspec.Struct, frozen=True, kw_only=True):
    """One column's distribution, as plain values.

    Attributes:
        edges: Inner edges, strictly increasing.
        counts: Rows per bin without nulls, one more than edges.
        nulls: Rows without a value (NaN).
        out_of_range: Rows outside the plan's [low, high], including infinite values. The outer bins
            count them too.
        finite: Rows with a finite value.
        total: Sum of (value - centre) over finite values, where `centre` is the middle edge. It
            lies near the data, so that `squares` loses no digits to a large mean.
        squares: Sum of (value - centre) ** 2 over finite values.
        minimum: Smallest finite value. None without any.
        maximum: Largest finite value. None without any.
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
        """In the column's unit. NaN without finite values."""
        return centre(self.edges) + self.total / self.finite if self.finite else math.nan

    @property
    def std(self) -> float:
        """Population standard deviation in the column's unit. NaN without finite values."""
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
    """Counts of all columns of a plan, one per window. A few kilobytes, for any number of rows.

    Attributes:
        rows: Rows added so far.
        counts: Shape (columns, plan.width). A column with fewer bins has zeros behind them.
        nulls: As in `Histogram`, shape (columns,).
        out_of_range: As in `Histogram`, shape (columns,).
        finite: As in `Histogram`, shape (columns,).
        total: As in `Histogram`, shape (columns,).
        squares: As in `Histogram`, shape (columns,).
        minimum: Smallest finite value per column, shape (columns,). inf without any.
        maximum: Largest finite value per column, shape (columns,). -inf without any.
    """

    def __init__(self, plan: BinPlan) -> None:
        columns = len(plan.names)
        self.plan = plan
        self.rows = 0
        self.counts: Counts = np.zeros((columns, plan.width), dtype=np.int64)
        self.nulls, self.out_of_range, self.finite = (
            np.zeros(columns, dtype=np.int64) for _ in range(3)
        )
        self.total, self.squares = np.zeros(columns), np.zeros(columns)
        self.minimum, self.maximum = np.full(columns, np.inf), np.full(columns, -np.inf)

    def add(self, matrix: Matrix) -> None:
        """Count rows.

        Args:
            matrix: Shape (rows, columns), in the plan's order. NaN is a null. It needs the
                precision at which the edges were cut. For example, 57.16 as float64 is above an
                edge at the float32 of 57.16. When the model sees float32 values, add float32
                values.

        Raises:
            ValueError: The number of columns differs. Nothing was counted.
        """
        if matrix.ndim != 2 or matrix.shape[1] != len(self.plan.names):
            raise ValueError(f"expected shape (rows, {len(self.plan.names)}), got {matrix.shape}")
        for start in range(0, len(matrix), CHUNK_ROWS):
            # Row-major for any input order, because the passes below go along rows.
            self._add_chunk(
                np.ascontiguousarray(matrix[start : start + CHUNK_ROWS], dtype=np.float64)
            )

    def merge(self, other: MatrixHistogram) -> None:
        """Add another histogram's rows, which must not overlap with these.

        Counts are exact in any order of merging. Sums are exact up to rounding.

        Raises:
            MismatchError: The other one was counted by another plan.
        """
        if self.plan.fingerprint != other.plan.fingerprint:
            raise MismatchError(
                f"counted over other bins: plan {other.plan.fingerprint}, expected"
                f" {self.plan.fingerprint}"
            )
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
        """Return one column.

        Raises:
            KeyError: The plan has no such column.
        """
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
        """Return the counts for a restart or another process, with the plan's fingerprint only."""
        integers = np.stack([self.nulls, self.out_of_range, self.finite]).astype("<i8")
        floats = np.stack([self.total, self.squares, self.minimum, self.maximum]).astype("<f8")
        stored = _StoredHistogram(
            self.plan.fingerprint,
            self.rows,
            self.counts.astype("<i8").tobytes(),
            integers.tobytes(),
            floats.tobytes(),
        )
        return msgspec.msgpack.encode(stored)

    @staticmethod
    def from_bytes(plan: BinPlan, content: bytes) -> MatrixHistogram:
        """Return the histogram that `to_bytes` stored.

        Raises:
            MismatchError: It was counted by another plan.
            ValueError: The content is damaged or no stored histogram.
        """
        try:
            stored = msgspec.msgpack.decode(content, type=_StoredHistogram)
        except msgspec.MsgspecError as error:
            raise ValueError(f"no stored histogram: {error}") from error
        if stored.fingerprint != plan.fingerprint:
            raise MismatchError(
                f"counted over other bins: plan {stored.fingerprint}, expected {plan.fingerprint}"
            )
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
        # Nulls compare as false with every edge. They stay in each column's first bin until they
        # are taken out below.
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
            # Infinite is implausible even without a range. Infinite values beyond a range are
            # counted above.
            self.out_of_range += np.count_nonzero(
                infinite & (x >= plan.low) & (x <= plan.high), axis=0
            )
            self.finite += np.count_nonzero(finite, axis=0)
            np.minimum(self.minimum, np.where(finite, x, np.inf).min(axis=0), out=self.minimum)
            np.maximum(self.maximum, np.where(finite, x, -np.inf).max(axis=0), out=self.maximum)
            centred = np.where(finite, x - plan.centre, 0.0)
        self.total += centred.sum(axis=0)
        self.squares += np.einsum("ij,ij->j", centred, centred)
