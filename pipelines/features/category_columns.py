"""Columns of categories: their numbers, the names behind these, and those that a version learns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from dojo.core.categories import category_number, codes_of

# Rows of the training part that a category needs, so that a leaf can learn from it. Rarer ones
# share the code of all unknown ones. So new ones are scored like rare ones.
RARE_ROWS = 50

# Categories that a version knows at most, the most frequent ones.
MOST_CATEGORIES = 100


class SameNumberError(ValueError):
    """Two categories share a number, so no model could tell them apart."""


def as_numbers(column: pl.Series) -> pl.Series:
    """Return the numbers of a column of categories, Float64, under the same name.

    A file from before the column existed has nulls, which are the empty category.
    """
    column = column.fill_null("")
    names = column.unique()
    numbers = [category_number(name) for name in names]
    return column.replace_strict(names, numbers, return_dtype=pl.Float64)


def names_by_number(column: pl.Series) -> dict[float, str]:
    """Return number -> name of each category in a column, in the order of the names.

    Raises:
        SameNumberError: Two of them have one number.
    """
    found: dict[float, str] = {}
    for name in column.fill_null("").unique().sort():
        other = found.setdefault(category_number(name), name)
        if other != name:
            raise SameNumberError(
                f"{column.name}: {other!r} and {name!r} share a number: rename one of them"
            )
    return found


def known_categories(numbers: npt.NDArray[np.floating], names: Sequence[str]) -> tuple[str, ...]:
    """Return the names that a version learns, the most frequent first.

    Labels play no part, so no code knows a label.

    Args:
        numbers: The training part's categories, shape (rows,).
        names: Every name that may be among them. The empty one is no category.
    """
    named = [name for name in names if name] or [""]
    rows = np.bincount(codes_of(numbers, named).astype(np.int64), minlength=len(named) + 1)
    by_rows = sorted(zip((-rows[:-1]).tolist(), named, strict=True))
    often = [name for fewer, name in by_rows if -fewer >= RARE_ROWS][:MOST_CATEGORIES]
    return tuple(often or [by_rows[0][1]])
