"""A streaming view's row from an entity's window. The same definitions as pipelines/features/compute.py, held equal by a test."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from services.streamer.windows import SlidingWindow

HOUR = 3_600_000_000  # microseconds
DAY = 24 * HOUR


def customer_activity(window: SlidingWindow) -> dict[str, float]:
    """The catalogue's customer_activity features."""
    hour, day = _cents_within(window, HOUR), _cents_within(window, DAY)
    return {
        "customer_last_tx_time": window.times[-1] / 1_000_000,
        "customer_last_tx_count_1h": float(len(hour)),
        "customer_last_amount_1h": sum(hour) / 100,
        "customer_last_tx_count_24h": float(len(day)),
        "customer_last_amount_24h": sum(day) / 100,
        "customer_last_amount_max_24h": max(day) / 100,
    }


def merchant_activity(window: SlidingWindow) -> dict[str, float]:
    """The catalogue's merchant_activity features."""
    hour = _cents_within(window, HOUR)
    return {
        "merchant_last_tx_time": window.times[-1] / 1_000_000,
        "merchant_last_tx_count_1h": float(len(hour)),
        "merchant_last_amount_1h": sum(hour) / 100,
    }


def online_timestamp(window: SlidingWindow) -> datetime:
    """The row's `event_timestamp` in the online store.

    The online store skips a row whose timestamp is not later than the stored one. That is what keeps an old materialisation from
    overwriting a newer push, but it would also drop the push after a late event, which changes a window and not its latest time. So:

    - latest transaction at T, no late events: T. A materialised row (T + 1 microsecond, from the lake) wins over it, which heals
      windows that began with a part of their events (the first ones after history was replayed).
    - each late event since adds a microsecond, beginning at T + 2: newer than the push before and than what was materialised.
    """
    late = timedelta(microseconds=window.revision + 1) if window.revision else timedelta(0)
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=window.times[-1]) + late


def _cents_within(window: SlidingWindow, length: int) -> list[int]:
    """Amounts in (latest - length, latest]."""
    oldest = window.times[-1] - length
    return [cents for time, cents in zip(window.times, window.cents, strict=True) if time > oldest]
