"""Which categories a version learns, and columns of them as numbers."""

from __future__ import annotations

from hashlib import sha256

import numpy as np
import polars as pl
import pytest

from dojo.core.categories import category_number
from pipelines.features.category_columns import (
    MOST_CATEGORIES,
    RARE_ROWS,
    SameNumberError,
    as_numbers,
    known_categories,
    names_by_number,
)


def numbers(rows: dict[str, int]) -> np.ndarray:
    found = [category_number(name) for name, count in rows.items() for _ in range(count)]
    return np.array(found, dtype=np.float32)


def test_a_column_keeps_its_order_and_files_from_before_it_have_the_empty_category() -> None:
    found = as_numbers(pl.Series("carrier", ["post", None, "swift", "post"]))
    assert found.name == "carrier"
    assert found.to_list() == [category_number(name) for name in ("post", "", "swift", "post")]
    assert as_numbers(pl.Series("carrier", [], dtype=pl.String)).to_list() == []


def test_frequent_categories_come_first_and_rare_ones_are_not_learned() -> None:
    rows = {"rare": RARE_ROWS - 1, "b": RARE_ROWS, "a": RARE_ROWS, "most": 2 * RARE_ROWS, "": 500}
    names = [*sorted(rows), "never seen"]
    assert known_categories(numbers(rows), names) == ("most", "a", "b")
    assert known_categories(numbers({"rare": 3, "once": 1}), ["once", "rare"]) == ("rare",)
    many = {f"c{number}": RARE_ROWS for number in range(MOST_CATEGORIES + 1)}
    assert len(known_categories(numbers(many), list(many))) == MOST_CATEGORIES


def test_two_names_with_one_number_are_refused() -> None:
    seen: dict[float, str] = {}
    texts = (sha256(str(number).encode()).hexdigest()[:8] for number in range(100_000))
    pair = next(
        (other, text)
        for text in texts
        if (other := seen.setdefault(category_number(text), text)) != text
    )
    with pytest.raises(SameNumberError, match=f"carrier: .*{pair[1]}.* share a number"):
        names_by_number(pl.Series("carrier", ["post", *pair]))
    assert set(names_by_number(pl.Series("carrier", ["b", None, "a"])).values()) == {"", "a", "b"}
