"""Chance without a generator's state: decided by (seed, purpose, id) alone.

The live process after a restart, a rebuilt history and a test all draw the same.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Keys = npt.NDArray[np.uint64]

# Odd constants of SplitMix64 (Steele, Lea, Flood 2014).
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def keys(ids: Iterable[str], seed: int, purpose: str = "") -> Keys:
    """A 64-bit key per id. Different purposes give unrelated keys. "" is for label delays."""
    texts = list(ids)
    found = np.fromiter(
        (zlib.crc32(text.encode()) for text in texts), dtype=np.uint64, count=len(texts)
    )
    found = mix(found + (np.uint64(seed % 2**32) << np.uint64(32)))
    return purposed(found, purpose) if purpose else found


def purposed(without: Keys, purpose: str) -> Keys:
    """Keys as `keys` with this purpose makes them, from its keys without one.

    For ids with many purposes. Reading texts is most of the time.
    """
    return mix(without ^ np.uint64(zlib.crc32(purpose.encode())))


def of_pairs(first: Keys, number: npt.NDArray[np.int64]) -> Keys:
    """Keys of pairs: a thing that has a key, and a number. For parts of a thing."""
    return mix(first + number.astype(np.uint64) * _GOLDEN)


def mix(values: Keys) -> Keys:
    """SplitMix64's finaliser: neighbouring keys come out unrelated. Overflow is meant."""
    values = (values ^ (values >> np.uint64(30))) * _MIX_1
    values = (values ^ (values >> np.uint64(27))) * _MIX_2
    return values ^ (values >> np.uint64(31))


def second(first: Keys) -> Keys:
    """Further keys, unrelated to the first ones."""
    return mix(first + _GOLDEN)


def normal(ids: Iterable[str], seed: int, purpose: str) -> Floats:
    """Standard normal, decided by the id."""
    return normal_of(keys(ids, seed, purpose))


def normal_of(first: Keys) -> Floats:
    """Standard normal, decided by the key (Box-Muller)."""
    radius = np.sqrt(-2 * np.log(uniform(first)))
    found: Floats = radius * np.cos(2 * np.pi * uniform(second(first)))
    return found


def uniform(values: Keys) -> Floats:
    """Uniform in (0, 1]. Never 0, because callers take logarithms.

    The last of 2^53 values rounds to 1.
    """
    return ((values >> np.uint64(11)).astype(np.float64) + 0.5) / 2**53
