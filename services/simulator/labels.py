"""When a transaction's label arrives: a lognormal delay, decided by (seed, transaction id) alone.

No generator state: the live process after a restart, a rebuilt history and a test all compute the same arrival.
"""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt
import polars as pl

from dojo.specs import LabelDelay

# Odd constants of SplitMix64 (Steele, Lea, Flood 2014).
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def label_delays(transaction_ids: pl.Series, delay: LabelDelay, seed: int) -> pl.Series:
    """How long after its transaction each label arrives, Duration("us").

    exp(ln median + sigma * z) with z standard normal, and `maximum` for what would take longer: a payment that nobody
    has reported by then counts as legitimate, so its label is known at that moment.
    """
    keys = np.fromiter((zlib.crc32(i.encode()) for i in transaction_ids), dtype=np.uint64, count=len(transaction_ids))
    keys = _mix(keys + (np.uint64(seed % 2**32) << np.uint64(32)))
    radius = np.sqrt(-2 * np.log(_unit(keys)))
    normal = radius * np.cos(2 * np.pi * _unit(_mix(keys + _GOLDEN)))  # Box-Muller
    seconds = np.minimum(delay.median.total_seconds() * np.exp(delay.sigma * normal), delay.maximum.total_seconds())
    return pl.Series("delay", (seconds * 1e6).astype(np.int64)).cast(pl.Duration("us"))


def _mix(keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """SplitMix64's finaliser: neighbouring keys come out unrelated. Overflow is meant."""
    keys = (keys ^ (keys >> np.uint64(30))) * _MIX_1
    keys = (keys ^ (keys >> np.uint64(27))) * _MIX_2
    return keys ^ (keys >> np.uint64(31))


def _unit(keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.float64]:
    """Uniform in (0, 1), never 0: the logarithm is taken of it."""
    return ((keys >> np.uint64(11)).astype(np.float64) + 0.5) / 2**53
