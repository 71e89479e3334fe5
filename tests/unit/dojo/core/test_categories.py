"""Categories as numbers and codes, the same in every process and every version."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dojo.core.categories import NUMBERS, category_number, codes_of, with_codes

KNOWN = ("post", "swift", "parcelline")


def numbers(*names: str) -> np.ndarray:
    return np.array([category_number(name) for name in names], dtype=np.float32)


@given(st.text())
def test_a_number_survives_float32(name: str) -> None:
    number = category_number(name)
    assert number == float(np.float32(number))
    assert 0 <= number < NUMBERS


def test_a_number_never_changes_because_lakes_hold_it() -> None:
    assert category_number("post") == 9071757
    assert category_number("") == 0


def test_codes_are_places_and_all_unknown_categories_share_the_last() -> None:
    found = codes_of(numbers("parcelline", "skyhook", "post", "", "swift"), KNOWN)
    assert found.tolist() == [2, 3, 0, 3, 1]
    assert np.isnan(codes_of(np.array([np.nan], np.float32), KNOWN)).all()


@pytest.mark.parametrize("number", [-1.0, 0.5, category_number("post") + 1, np.inf])
def test_a_number_that_is_no_categorys_is_unknown(number: float) -> None:
    assert codes_of(np.array([number]), KNOWN).tolist() == [len(KNOWN)]


def test_other_columns_stay_and_rows_without_categories_are_not_copied() -> None:
    rows = np.column_stack([numbers("swift", "x"), [7.0, 8.0], numbers("a", "b")])
    rows = rows.astype(np.float32)
    coded = with_codes(rows, ("carrier", "price", "category"), {"carrier": KNOWN, "category": "b"})
    assert coded.tolist() == [[1, 7, 1], [3, 8, 0]]
    assert rows[0, 0] == category_number("swift")
    assert with_codes(rows, ("carrier", "price", "category"), {}) is rows
