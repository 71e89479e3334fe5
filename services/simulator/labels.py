"""When a transaction's label arrives: a lognormal delay, decided by (seed, transaction id) alone.

No generator state: the live process after a restart, a rebuilt history and a test all compute the same arrival.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from dojo.core.spec.schema import LabelDelay
from services.simulator.town.chance import keys, second, uniform


def label_delays(transaction_ids: pl.Series, delay: LabelDelay, seed: int) -> pl.Series:
    """How long after its transaction each label arrives, Duration("us").

    exp(ln median + sigma * z) with z standard normal, and `maximum` for what would take longer: a payment that nobody
    has reported by then counts as legitimate, so its label is known at that moment.
    """
    first = keys(transaction_ids, seed)
    radius = np.sqrt(-2 * np.log(uniform(first)))
    normal = radius * np.cos(2 * np.pi * uniform(second(first)))  # Box-Muller
    seconds = np.minimum(
        delay.median.total_seconds() * np.exp(delay.sigma * normal), delay.maximum.total_seconds()
    )
    return pl.Series("delay", (seconds * 1e6).astype(np.int64)).cast(pl.Duration("us"))
