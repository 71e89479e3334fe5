"""dojo/stats/histograms/histogram.py: counting, merging and storing.

Each is compared with another count of all rows at once.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dojo.stats.histograms.bin_plan import FEW_EDGES, BinPlan
from dojo.stats.histograms.binning import bin_counts
from dojo.stats.histograms.histogram import Histogram, MatrixHistogram, MismatchError

EDGES = {"amount": (0.0, 1.5, 2.0), "flag": (0.0,), "count": (-1.0, 0.0, 1.0, 2.0, 3.0)}
PLAN = BinPlan(EDGES, low={"amount": -1.0}, high={"amount": 2.0, "count": 3.0})

values = st.one_of(
    st.integers(-3, 5).map(float), st.sampled_from([math.nan, math.inf, -math.inf, 1.5, 1e9])
)
matrices = arrays(np.float64, st.tuples(st.integers(0, 30), st.just(3)), elements=values)


def counted(*parts: np.ndarray, plan: BinPlan = PLAN) -> MatrixHistogram:
    found = MatrixHistogram(plan)
    for part in parts:
        found.add(part)
    return found


def histogram(values: np.ndarray, edges: np.ndarray) -> Histogram:
    return counted(np.asarray(values)[:, None], plan=BinPlan({"value": edges})).column("value")


def same(one: MatrixHistogram, other: MatrixHistogram) -> None:
    """Compare counts exactly, and sums up to rounding."""
    assert one.rows == other.rows
    for name in one.plan.names:
        first, second = one.column(name), other.column(name)
        for field in ("edges", "counts", "nulls", "out_of_range", "finite", "minimum", "maximum"):
            assert getattr(first, field) == getattr(second, field), (name, field)
        assert first.total == pytest.approx(second.total, rel=1e-9, abs=1e-9)
        assert first.squares == pytest.approx(second.squares, rel=1e-9, abs=1e-9)


@given(matrices)
def test_a_window_counts_what_counting_all_rows_at_once_counts(matrix: np.ndarray) -> None:
    found = counted(matrix)
    for at, (name, edges) in enumerate(EDGES.items()):
        column, all_rows = found.column(name), matrix[:, at]
        present, finite = all_rows[~np.isnan(all_rows)], all_rows[np.isfinite(all_rows)]
        assert column.rows == len(matrix) == found.rows
        assert column.nulls == len(all_rows) - len(present)
        expected = np.bincount(
            np.searchsorted(edges, present, side="left"), minlength=len(edges) + 1
        )
        assert column.counts == tuple(expected)
        low, high = {
            "amount": (-1.0, 2.0),
            "flag": (-math.inf, math.inf),
            "count": (-math.inf, 3.0),
        }[name]
        assert column.out_of_range == np.count_nonzero(
            (present < low) | (present > high) | np.isinf(present)
        )
        assert column.finite == len(finite)
        if len(finite):
            assert (column.minimum, column.maximum) == (finite.min(), finite.max())
            assert column.mean == pytest.approx(finite.mean(), rel=1e-9, abs=1e-9)
            # A column with 1e9s and 3s has no digits left for the 3s.
            assert column.std == pytest.approx(
                finite.std(), rel=1e-6, abs=1e-6 * (1 + np.abs(finite).max())
            )
        else:
            assert (column.minimum, column.maximum) == (None, None)
            assert math.isnan(column.mean)
            assert math.isnan(column.std)


@given(matrices, matrices, matrices)
def test_windows_merge_into_their_whole_in_any_order(
    a: np.ndarray, b: np.ndarray, c: np.ndarray
) -> None:
    whole = counted(np.concatenate([a, b, c]))
    left = counted(a)
    left.merge(counted(b))
    left.merge(counted(c))
    right = counted(b)
    right.merge(counted(c))
    reordered = counted(c)
    reordered.merge(counted(a))
    reordered.merge(counted(b))
    outer = counted(a)
    outer.merge(right)
    for merged in (left, outer, reordered):
        same(merged, whole)
    column = whole.column("amount")
    assert msgspec.json.decode(msgspec.json.encode(column), type=Histogram) == column


@given(matrices, matrices)
def test_a_window_survives_being_stored_and_counts_on(a: np.ndarray, b: np.ndarray) -> None:
    restored = MatrixHistogram.from_bytes(PLAN, counted(a).to_bytes())
    restored.add(b)
    same(restored, counted(a, b))


def test_24_hours_are_their_day_and_take_no_more_room_than_one() -> None:
    random = np.random.default_rng(1)
    rows = random.normal(size=(24 * 400, 3))
    day, hours = counted(rows), [counted(part) for part in np.split(rows, 24)]
    merged = MatrixHistogram(PLAN)
    for hour in hours:
        merged.merge(hour)
    same(merged, day)
    assert len(day.to_bytes()) <= len(hours[0].to_bytes()) + 8
    assert len(day.to_bytes()) < 500


def test_chunks_and_many_edges_count_like_the_plain_function() -> None:
    random = np.random.default_rng(2)
    rows = random.lognormal(size=(5000, 2)).astype(np.float32)
    for edges in (tuple(np.linspace(0.1, 3, FEW_EDGES)), tuple(np.linspace(0.1, 3, FEW_EDGES + 1))):
        found = counted(rows, plan=BinPlan({"a": edges, "b": (1.0,)}))
        for at, name in enumerate(("a", "b")):
            np.testing.assert_array_equal(
                found.column(name).counts,
                bin_counts(rows[:, at], np.array(found.column(name).edges)),
            )


def test_nulls_are_in_no_bin_with_many_edges_either() -> None:
    found = histogram(np.array([math.nan, 0.0, 50.0, -math.inf]), np.arange(FEW_EDGES + 8.0))
    assert (found.nulls, found.counts[0], found.counts[-1], sum(found.counts)) == (1, 2, 1, 3)
    assert found.nulls == 1
    assert found.out_of_range == 1


def test_the_spread_of_values_far_from_zero_keeps_its_digits() -> None:
    exact = 1.7e9 + np.random.default_rng(3).normal(0, 0.5, 10_000)  # a time in seconds
    found = histogram(exact, np.quantile(exact, [0.25, 0.5, 0.75]))
    assert found.mean == pytest.approx(exact.mean(), rel=1e-15)
    assert found.std == pytest.approx(exact.std(), rel=1e-6)


def test_a_float32_value_is_in_the_bin_of_its_own_edge() -> None:
    value = np.float32(57.16)
    edges = (float(value),)
    assert histogram(np.array([value]), edges).counts == (1, 0)
    # So `add` asks for the reference's precision.
    assert histogram(np.array([57.16]), edges).counts == (0, 1)


def test_counts_over_other_bins_are_refused_instead_of_added() -> None:
    other = BinPlan(
        {**EDGES, "flag": (0.5,)}, low={"amount": -1.0}, high={"amount": 2.0, "count": 3.0}
    )
    narrower = BinPlan(EDGES, low={"amount": -1.0}, high={"amount": 1.0, "count": 3.0})
    for plan in (other, narrower):
        with pytest.raises(MismatchError, match="other bins"):
            counted(np.zeros((1, 3))).merge(counted(np.zeros((1, 3)), plan=plan))
        with pytest.raises(MismatchError, match="other bins"):
            MatrixHistogram.from_bytes(PLAN, counted(np.zeros((1, 3)), plan=plan).to_bytes())


def test_what_cannot_be_counted_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected shape \(rows, 3\), got \(2, 2\)"):
        counted(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="no stored histogram"):
        MatrixHistogram.from_bytes(PLAN, b"\xc1")
    with pytest.raises(ValueError, match="needs columns"):
        BinPlan({})
    with pytest.raises(ValueError, match="a: edges must be finite and strictly increasing"):
        BinPlan({"a": (1.0, 1.0)})
    with pytest.raises(ValueError, match=r"low names columns that have no edges: \['b'\]"):
        BinPlan({"a": (1.0,)}, low={"b": 0.0})
    with pytest.raises(ValueError, match="a: low 2 is above high 1"):
        BinPlan({"a": (1.0,)}, low={"a": 2.0}, high={"a": 1.0})
    with pytest.raises(KeyError, match="the plan has amount, flag, count"):
        counted().column("age")


def test_an_empty_window_says_so() -> None:
    empty = counted().column("amount")
    assert (empty.rows, empty.counts, empty.minimum, empty.maximum) == (0, (0, 0, 0, 0), None, None)
    assert empty.rows == 0
    assert math.isnan(empty.mean)
