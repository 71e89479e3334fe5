"""When each label of a payment is known, as the merchants' features use it."""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from feature_repo.shop.payments import LABEL_DELAY

LABEL_DELAY_DAYS = LABEL_DELAY.days


def label_known_from(transactions: pl.DataFrame, outcomes: pl.DataFrame) -> pl.DataFrame:
    """Return a row for each outcome of a transaction, and one for each transaction without any.

    Args:
        transactions: Unique by transaction_id.
        outcomes: In the order they became known.

    Returns:
        The transactions' columns, `new`, `gained` and `known_from`. `new` is 1 where the
        transaction appears first, 0 in the rows of corrections. `gained` is what the label adds to
        the frauds known before, -1 to 1, null without an outcome. `known_from` is the first
        midnight for using the outcome, null without one. From then on, the outcome has arrived, and
        the label delay is over for the whole day of the transaction.
    """
    arrived = outcomes.select(
        "label", transaction_id="request_id", arrival=pl.col("world_time").dt.date()
    )
    # A transaction's outcomes follow each other in the order they became known.
    known = transactions.join(arrived, on="transaction_id", how="left", maintain_order="left_right")
    again = (pl.col("transaction_id") == pl.col("transaction_id").shift()).fill_null(value=False)
    before = pl.when(again).then(pl.col("label").shift()).otherwise(0.0)
    delay_over = pl.col("world_time").dt.date() + timedelta(days=LABEL_DELAY_DAYS + 1)
    return known.with_columns(
        (~again).cast(pl.Int64).alias("new"),
        (pl.col("label") - before).cast(pl.Int64).alias("gained"),
        pl.when(pl.col("arrival").is_not_null())
        .then(pl.max_horizontal(delay_over, pl.col("arrival") + timedelta(days=1)))
        .alias("known_from"),
    ).drop("label", "arrival")
