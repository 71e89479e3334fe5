"""Categories as numbers: one function for training, serving, batch scoring and monitoring.

A category is a short text, such as a carrier's name. Models take float32 only. So a category
travels as its number, which depends on the text alone. All versions share it, and a lake of
numbers stays right when a version learns other categories.

A version knows some categories, in an order. Its trees see the *code* of a number, which is the
place in this order. All other categories share one code, the number of known ones
(docs/adr/0053-categories.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias
from zlib import crc32

import numpy as np
import numpy.typing as npt

# The model's type, float32, holds whole numbers below 2^24 exactly. One in 3,000 vocabularies of a
# hundred categories has two that share a number. Training refuses such a pair.
NUMBERS = 2**24

# Longer than any name of a category in use. Limits the size of logs and of bundles.
MAX_CATEGORY_LENGTH = 64

# Feature -> the names of its known categories, in the order of their codes.
Categories: TypeAlias = Mapping[str, Sequence[str]]

# What people read for the code of all unknown categories.
OTHER = "other"


def category_number(name: str) -> float:
    """Return a category's number, a whole number from 0 to before NUMBERS.

    It is the same in every process. A lone surrogate is no error.
    """
    return float(crc32(name.encode(errors="surrogatepass")) % NUMBERS)


def codes_of(
    numbers: npt.NDArray[np.floating], categories: Sequence[str]
) -> npt.NDArray[np.float32]:
    """Return the code of each number, shape of `numbers`. NaN stays NaN.

    Args:
        numbers: Categories as numbers.
        categories: The known names, in the order of their codes.
    """
    known = np.array([category_number(name) for name in categories], dtype=np.float32)
    order = np.argsort(known)
    at = np.minimum(np.searchsorted(known[order], numbers), len(known) - 1)
    found = np.where(known[order][at] == numbers, order[at], len(known))
    return np.where(np.isnan(numbers), np.nan, found).astype(np.float32)


def with_codes(
    rows: npt.NDArray[np.float32], features: Sequence[str], categories: Categories
) -> npt.NDArray[np.float32]:
    """Return rows with codes for the numbers of categories. Without categories, the same array.

    Args:
        rows: Features as served, float32, shape (rows, at least as many as `features`).
        features: Names of the first columns.
        categories: The known names of the features that are categories.
    """
    if not categories:
        return rows
    coded = rows.copy()
    for name, known in categories.items():
        at = features.index(name)
        coded[:, at] = codes_of(rows[:, at], known)
    return coded
