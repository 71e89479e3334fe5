"""Batch scores equal a real gateway's answers to the same requests."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import msgspec
import polars as pl
import pytest
from redis import Redis

from dojo.core.events.columns import frame_of
from dojo.core.events.types import Stream
from dojo.core.lake import Lake, start_of
from feature_repo.catalog import VIEWS
from feature_repo.online_rows import OnlineRow, OnlineRows
from pipelines.batch_scoring.side_by_side import side_by_side
from pipelines.features.materialize import build_days
from pipelines.features.offline import offline_file
from tests.integration.services.gateway.conftest import WORLD_NOW
from tests.support.gateways import GatewayServer, logged_predictions
from tests.support.scored_days import DAYS, ScoredDay
from tests.support.servers import RedisServer, wait_until

pytestmark = pytest.mark.integration

START = start_of(WORLD_NOW.date()) - timedelta(days=DAYS)


def bring_online(lake: Lake, offline: Path, redis: Redis) -> None:
    """Write each entity's newest row as of WORLD_NOW, as the materializer would."""
    build_days(lake, offline, WORLD_NOW)
    for view in VIEWS.values():
        files = [
            offline_file(offline, view.name, WORLD_NOW.date() - timedelta(days=n))
            for n in range(40)
        ]
        newest = (
            pl.read_parquet([file for file in files if file.exists()], glob=False)
            .filter(pl.col("event_timestamp") <= WORLD_NOW)
            .sort("event_timestamp")
            .unique(view.key, keep="last")
        )
        rows = newest.select(view.key, "event_timestamp", pl.concat_list(view.names)).iter_rows()
        OnlineRows(redis).write(view.name, (OnlineRow(*row) for row in rows))


def asked_of(gateway: GatewayServer, requests: pl.DataFrame) -> None:
    instances = [
        {
            "request_id": row["transaction_id"],
            "customer_id": row["customer_id"],
            "merchant_id": row["merchant_id"],
            "amount": row["amount"],
            "transaction_time": row["time"].isoformat(),
        }
        for row in requests.iter_rows(named=True)
    ]
    gateway.predict(*instances)


def test_batch_scores_equal_the_gateways_answers_from_the_same_features(
    shared_gateway: GatewayServer,
    online_redis: RedisServer,
    bundle: tuple[Path, str],
    tmp_path: Path,
) -> None:
    """The online store stands still at noon.

    A request is its customer's and its merchant's first one after noon, or the store lacks events
    before it. Both kinds are sent.
    """
    world = ScoredDay(tmp_path / "world", START, prefix="batch-")
    world.bundle, world.sha256 = bundle
    lake = world.lake(tmp_path)
    bring_online(lake, tmp_path / "features", Redis.from_url(online_redis.url))
    after = world.rows.filter(
        (pl.col("time") > WORLD_NOW) & (pl.col("time").dt.date() == world.day)
    ).sort("time")
    first = after.filter(
        pl.col("customer_id").is_first_distinct() & pl.col("merchant_id").is_first_distinct()
    )
    others = after.join(first, on="transaction_id", how="anti")
    assert len(first) > 5
    assert len(others) > 5
    asked_of(shared_gateway, after)
    ids = set(after["transaction_id"])
    wait_until(
        lambda: ids <= {event.request_id for event in logged_predictions(online_redis.url)},
        10,
        "all answers are logged",
    )
    logged = [event for event in logged_predictions(online_redis.url) if event.request_id in ids]
    lake.write(Stream.PREDICTIONS, frame_of(Stream.PREDICTIONS, logged), "part-1")

    scoring = world.scoring(tmp_path)
    run = scoring.run(None, speed=1.0)
    found = run.equality
    assert found is not None
    whole = [event for event in logged if not event.degraded]
    assert found.compared == len(whole)
    assert found.wrong == 0
    assert found.largest <= 1e-6
    scores = dict(scoring.scored(run).select("request_id", "score").iter_rows())
    fresh = set(first["transaction_id"])
    gaps = [
        abs(scores[event.request_id] - event.score) for event in whole if event.request_id in fresh
    ]
    assert len(gaps) > 5
    assert max(gaps) <= 1e-6
    assert found.same_features >= len(gaps)
    assert found.same_features < found.compared, "the store had not seen the afternoon"
    assert set(found.examples) <= set(others["transaction_id"])

    prices = side_by_side(run, lake, metrics_of(shared_gateway), price=0.05)
    assert prices.online.why_not == prices.batch.why_not == ""
    assert prices.online.predictions == len(logged)
    for way in (prices.online, prices.batch):
        assert all(msgspec.to_builtins(way)[name] > 0 for name in ("latency_p99", "cost_per_1000"))


def metrics_of(gateway: GatewayServer) -> str:
    import urllib.request

    with urllib.request.urlopen(f"{gateway.url}/metrics", timeout=5) as answer:
        text: str = answer.read().decode()
        return text
