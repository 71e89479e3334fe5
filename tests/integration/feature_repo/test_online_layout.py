"""feature_repo/online_layout.py against what Feast really writes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from redis import Redis

from feature_repo.catalog import CUSTOMER_ACTIVITY, CUSTOMER_DAILY
from feature_repo.online_layout import decode_timestamp, decode_value, decode_values, entity_key, field_name, timestamp_field
from tests.support.servers import RedisServer

pytestmark = pytest.mark.integration

KEYS = ("1", "customer-0042", "zoë ⛄", "x" * 200)
TIME = datetime(2018, 6, 15, 6, 0, 0, 1, tzinfo=UTC)  # a microsecond past the second: nanos matter


def test_feasts_rows_are_read_as_feast_reads_them(redis_server: RedisServer, tmp_path: Path) -> None:
    from feature_repo.store import open_store

    store = open_store(tmp_path / "offline", redis_server.url, tmp_path / "registry.db")
    names = [feature.name for feature in CUSTOMER_DAILY.features]
    values = {name: [0.0, 1.5, -2.25e300, 5e-324] for name in names}
    values[names[1]] = [None, 7.0, None, 9.0]
    rows = pd.DataFrame({"customer_id": KEYS, "event_timestamp": [pd.Timestamp(TIME)] * 4, **values})
    store.write_to_online_store(CUSTOMER_DAILY.name, rows.astype(dict.fromkeys(names, "float64")))
    later = TIME + timedelta(days=1)
    activity = [feature.name for feature in CUSTOMER_ACTIVITY.features]
    store.write_to_online_store(
        CUSTOMER_ACTIVITY.name,
        pd.DataFrame({"customer_id": KEYS[:1], "event_timestamp": [pd.Timestamp(later)], **{n: [3.0] for n in activity}}),
    )

    feasts = store.get_online_features(
        [f"{CUSTOMER_DAILY.name}:{name}" for name in names], [{"customer_id": key} for key in KEYS]
    ).to_dict()
    redis = Redis.from_url(redis_server.url)
    for at, key in enumerate(KEYS):
        fields = [field_name(CUSTOMER_DAILY.name, name) for name in names]
        stored = redis.hmget(entity_key("customer_id", key), fields)
        assert [decode_value(value) for value in stored] == [feasts[name][at] for name in names]
        assert list(decode_values(stored)) == [feasts[name][at] for name in names]
        stamp = redis.hget(entity_key("customer_id", key), timestamp_field(CUSTOMER_DAILY.name))
        assert isinstance(stamp, bytes)
        assert decode_timestamp(stamp) == pytest.approx(TIME.timestamp(), abs=1e-6)
    assert feasts[names[1]][0] is None
    # Both views of one entity share its hash; a view without a row has no timestamp.
    assert decode_timestamp(
        redis.hget(entity_key("customer_id", "1"), timestamp_field(CUSTOMER_ACTIVITY.name))
    ) == pytest.approx(  # type: ignore[arg-type]
        later.timestamp(), abs=1e-6
    )
    assert redis.hget(entity_key("customer_id", KEYS[1]), timestamp_field(CUSTOMER_ACTIVITY.name)) is None
