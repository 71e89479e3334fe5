"""Banners that were shown, and the clicks on them."""

from __future__ import annotations

from datetime import timedelta

from dojo.shop.events import BANNERS as STREAM
from feature_repo.views import EventSource, labels_of

BANNERS = EventSource(
    stream=STREAM,
    key="impression_id",
    columns=("impression_id", "customer_id", "banner_id", "world_time"),
)

# A click takes minutes, and views count whole days.
CLICKS = labels_of("banner", settled_after=timedelta(days=1))
