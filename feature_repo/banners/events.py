"""Banners that were shown, and the clicks on them."""

from __future__ import annotations

from datetime import timedelta

from dojo.core.events.types import Stream
from dojo.shop.events import BANNERS as STREAM
from feature_repo.views import EventSource

BANNERS = EventSource(
    stream=STREAM,
    key="impression_id",
    columns=("impression_id", "customer_id", "banner_id", "world_time"),
)

CLICKS = EventSource(
    stream=Stream.OUTCOMES,
    key="request_id",
    columns=("request_id", "label", "world_time"),
    labels_of="banner",
    settled_after=timedelta(days=1),  # a click takes minutes. Views count whole days.
)
