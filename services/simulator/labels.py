"""When a transaction's label arrives: a lognormal delay, decided by (seed, transaction id) alone.

It needs no generator state. The live process after a restart, a rebuilt history and a test all
compute the same arrival.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from dojo.core.spec.schema import LabelDelay
from services.simulator.town.chance import normal


def label_delays(transaction_ids: pl.Series, delay: LabelDelay, seed: int) -> pl.Series:
    """How long after its transaction each label arrives, Duration("us").

    The delay is exp(ln median + sigma * z) with z standard normal, and at most `maximum`. A payment
    that was not reported by then counts as legitimate, so its label is known at that moment.
    """
    z = normal(transaction_ids, seed, "")
    seconds = np.minimum(
        delay.median.total_seconds() * np.exp(delay.sigma * z), delay.maximum.total_seconds()
    )
    return pl.Series("delay", (seconds * 1e6).astype(np.int64)).cast(pl.Duration("us"))
