"""When each label of a payment is known, as the merchants' features use it."""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from feature_repo.shop.payments import LABEL_DELAY

LABEL_DELAY_DAYS = LABEL_DELAY.days


def label_known_from(transactions: pl.DataFrame, outcomes: pl.DataFrame) -> pl.DataFrame:
    """Return a row for each outcome of a transaction, and one for each transaction without any.

    Args:
        outcomes: In the order they became known.

    Returns:
        The transactions' columns, `new`, `gained` and `known_from`. `new` is 1 where the
        transaction appears first, 0 in the rows of corrections. `gained` is what the label adds to
        the frauds known before, -1 to 1, null without an outcome. `known_from` is the first
        midnight for using the outcome, null without one. From then on, the outcome has arrived, and
        the label delay is over for the whole day of the transaction.
    """
    # Few labels are corrected, and a window over all of a month's would take longer than the rest.
    several = outcomes["request_id"].is_duplicated()
    corrected, plain = outcomes.filter(several), outcomes.filter(~several)
    before = pl.col("label").shift(1).over("request_id")
    parts = (
        rows.select(
            transaction_id="request_id",
            new=previous.is_null().cast(pl.Int64),
            gained=(pl.col("label") - previous.fill_null(0)).cast(pl.Int64),
            arrival=pl.col("world_time").dt.date(),
        )
        for rows, previous in ((plain, pl.lit(None, dtype=pl.Float64)), (corrected, before))
    )
    arrived = pl.concat(parts)
    delay_over = pl.col("world_time").dt.date() + timedelta(days=LABEL_DELAY_DAYS + 1)
    return transactions.join(arrived, on="transaction_id", how="left").with_columns(
        pl.col("new").fill_null(1),
        pl.when(pl.col("arrival").is_not_null())
        .then(pl.max_horizontal(delay_over, pl.col("arrival") + timedelta(days=1)))
        .alias("known_from"),
    )
