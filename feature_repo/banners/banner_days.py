"""What is known at a midnight about banners and those who see them (feature_repo/midnights.py)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

import polars as pl

from feature_repo.banners.events import BANNERS, CLICKS
from feature_repo.banners.views import BANNER_CLICKS, CUSTOMER_CLICKS, WEEK_DAYS, WINDOW_DAYS
from feature_repo.columns import as_view, ratio
from feature_repo.midnights import at_midnights, last, settled, with_labels


def banner_clicks(
    banners: pl.DataFrame, clicks: pl.DataFrame, days: Iterable[date]
) -> pl.DataFrame:
    """Return the banner_clicks view at the midnights that begin `days`.

    Args:
        banners: Lake columns, unique by impression_id.
        clicks: Lake columns of the outcomes, in the order they became known.
        days: The wanted days.

    Returns:
        banner_id, event_timestamp, features (Float64).
    """

    def sums(midnight: date) -> Sequence[pl.Expr]:
        return (
            last("new", midnight, WEEK_DAYS).alias("banner_shown_7d"),
            settled("gained", midnight, WEEK_DAYS, CLICKS).alias("clicks_week"),
            settled("new", midnight, WEEK_DAYS, CLICKS).alias("known_week"),
            settled("gained", midnight, WINDOW_DAYS, CLICKS).alias("clicks"),
            settled("new", midnight, WINDOW_DAYS, CLICKS).alias("known"),
        )

    found = at_midnights(
        with_labels(banners, clicks, BANNERS.key, CLICKS), BANNER_CLICKS, days, sums
    )
    return as_view(
        found.with_columns(
            banner_click_rate_7d=ratio("clicks_week", "known_week"),
            banner_click_rate_30d=ratio("clicks", "known"),
        ),
        BANNER_CLICKS,
    )


def customer_clicks(
    banners: pl.DataFrame, clicks: pl.DataFrame, days: Iterable[date]
) -> pl.DataFrame:
    """Return the customer_clicks view. Arguments and result are as in `banner_clicks`."""

    def sums(midnight: date) -> Sequence[pl.Expr]:
        return (
            last("new", midnight, WINDOW_DAYS).alias("customer_shown_30d"),
            settled("gained", midnight, WINDOW_DAYS, CLICKS).alias("clicks"),
            settled("new", midnight, WINDOW_DAYS, CLICKS).alias("known"),
        )

    found = at_midnights(
        with_labels(banners, clicks, BANNERS.key, CLICKS), CUSTOMER_CLICKS, days, sums
    )
    return as_view(
        found.with_columns(customer_click_rate_30d=ratio("clicks", "known")), CUSTOMER_CLICKS
    )
