"""dojo/stats/distances/categorical.py: unseen categories, bounded memory, and merging."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dojo.stats.distances.categorical import (
    MOST_CATEGORIES,
    NAMED_UNSEEN,
    CategoricalReference,
    CategoryCounts,
    categorical_drift,
    categorical_reference,
    empty_counts,
)

columns = st.lists(st.sampled_from(["visa", "amex", "wallet", "crypto", None]), max_size=40)
# More names than a window keeps, the first ones often.
unseen_columns = st.lists(st.integers(0, 60).map(lambda n: f"new-{n * n // 40}"), max_size=150)

REFERENCE = categorical_reference(["visa"] * 700 + ["amex"] * 300)


def window(*parts: list[str | None], reference: CategoricalReference = REFERENCE) -> CategoryCounts:
    found = empty_counts(reference)
    for part in parts:
        found.add(part)
    return found


def test_a_new_category_shows_and_is_named() -> None:
    quiet = categorical_drift(REFERENCE, window(["visa"] * 690 + ["amex"] * 310))
    assert quiet.psi < 0.001
    assert (quiet.bins, quiet.unseen_share, quiet.unseen) == (2, 0.0, ())
    moved = categorical_drift(REFERENCE, window(["visa"] * 600 + ["amex"] * 300 + ["wallet"] * 100))
    assert moved.psi > 0.25
    assert (moved.bins, moved.unseen_share, moved.unseen) == (3, 0.1, ("wallet",))


def test_nulls_are_a_category_of_their_own() -> None:
    drift = categorical_drift(REFERENCE, window(["visa"] * 70 + ["amex"] * 30 + [None] * 50))
    assert drift.psi > 0.25
    assert (drift.bins, drift.unseen_share) == (3, 0.0)


def test_an_identifier_takes_bounded_memory() -> None:
    reference = categorical_reference([f"customer-{n}" for n in range(5000)])
    assert len(reference.counts) == MOST_CATEGORIES
    assert reference.rows == 5000
    found = window([f"stranger-{n}" for n in range(50_000)] + ["stranger-7"] * 5_000, reference=reference)
    assert found.rows == found.other == 55_000
    assert len(found.unseen) <= NAMED_UNSEEN
    assert next(iter(found.unseen)) == "stranger-7"
    drift = categorical_drift(reference, found)
    assert drift.unseen_share == pytest.approx(0.02)  # 98 % of the reference's own rows are of categories it did not keep
    assert len(msgspec.msgpack.encode(found)) < 4096


@given(columns, columns, columns)
def test_windows_merge_into_their_whole_in_any_order(a: list[str | None], b: list[str | None], c: list[str | None]) -> None:
    whole = window(a + b + c)
    left, right = window(a, b), window(c)
    right.merge(left)
    assert right == whole
    inner = window(b)
    inner.merge(window(c))
    outer = window(a)
    outer.merge(inner)
    assert outer == whole
    assert whole.rows == len(a + b + c)
    assert msgspec.json.decode(msgspec.json.encode(whole), type=CategoryCounts) == whole


@given(unseen_columns, unseen_columns)
def test_a_frequent_unseen_category_is_always_named(a: list[str], b: list[str]) -> None:
    found = window(a, reference=REFERENCE)
    found.merge(window(b))
    true = Counter(a + b)
    assert found.other == len(a + b)
    assert len(found.unseen) <= NAMED_UNSEEN
    for name, rows in true.items():
        short = rows - found.unseen.get(name, 0)
        assert 0 <= short <= found.other / (NAMED_UNSEEN + 1)


def test_a_category_that_comes_one_row_at_a_time_displaces_the_first_names() -> None:
    found = window([f"early-{n}" for n in range(NAMED_UNSEEN)])
    for _ in range(100):
        found.add(["late"])
    assert next(iter(found.unseen)) == "late"


@given(columns.filter(lambda column: any(column)), columns.filter(bool))
def test_drift_is_never_negative_and_none_against_itself(r: list[str | None], c: list[str | None]) -> None:
    reference = categorical_reference(r)
    drift = categorical_drift(reference, window(c, reference=reference))
    assert drift.psi >= 0
    assert 0 <= drift.unseen_share <= 1
    assert categorical_drift(reference, window(r, reference=reference)).psi == 0
    assert categorical_reference(r[::-1]) == reference


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="needs rows with a value"):
        categorical_reference([None])
    with pytest.raises(ValueError, match="rows on both sides"):
        categorical_drift(REFERENCE, window())
    other = categorical_reference(["visa", "wallet"])
    with pytest.raises(ValueError, match=r"\['amex', 'wallet'\] are in one only"):
        window().merge(window(reference=other))
    with pytest.raises(ValueError, match="against another reference"):
        categorical_drift(other, window(["visa"]))
