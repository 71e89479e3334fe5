"""Batch scoring killed at any moment, its scores in a real online store, and its nights."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from redis import Redis

from dojo.core.events.types import Stream
from feature_repo.online_layout import MalformedValueError
from feature_repo.online_scores import OnlineScore, OnlineScores, expiry_seconds
from pipelines.batch_scoring.nights import Night, NightsAsked
from pipelines.batch_scoring.record import RunRecord
from tests.integration.pipelines.killed_batch import score_and_die
from tests.support.scored_days import BATCH, ScoredDay
from tests.support.servers import RedisServer

pytestmark = pytest.mark.integration

NOON = datetime(2030, 2, 14, 12, tzinfo=UTC)
KEEP = timedelta(days=2)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> ScoredDay:
    return ScoredDay(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def undisturbed(world: ScoredDay, tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    scoring = world.scoring(tmp_path_factory.mktemp("undisturbed"))
    return scoring.scored(scoring.run(None, speed=1.0))


@pytest.mark.parametrize(
    "moment",
    [
        "noted 1",  # the run has begun
        "written 1",  # its features are there
        "written 3",  # the second chunk is there, and not noted
        "noted 6",  # all chunks are noted
    ],
)
def test_a_killed_run_goes_on_and_ends_with_the_rows_of_an_undisturbed_one(
    world: ScoredDay, undisturbed: pl.DataFrame, tmp_path: Path, moment: str
) -> None:
    score_and_die(world, tmp_path, moment)
    lake, record = world.lake(tmp_path), RunRecord(tmp_path, "fraud_detection", "1", world.day)
    left = record.read()
    assert left is not None
    assert left.finished is None
    files = {path: path.read_bytes() for path in lake.files(Stream.BATCH_SCORES)}
    times = {path: path.stat().st_mtime_ns for path in files if path.stem in left.chunks}

    scoring = world.scoring(tmp_path)
    run = scoring.run(None, speed=1.0)
    assert scoring.scored(run).drop("wall_time").equals(undisturbed.drop("wall_time"))
    assert run.begun == left.begun
    assert {path: path.read_bytes() for path in files} == files, "byte for byte"
    assert {path: path.stat().st_mtime_ns for path in times} == times, "noted chunks stay"
    assert not record.rows_file.exists()


def score(key: str, at: datetime, version: str = "1", value: float = 0.5) -> OnlineScore:
    return OnlineScore(key, version, at, value, flagged=True)


def test_the_newest_request_wins_and_another_version_replaces_the_same_one(
    redis_server: RedisServer,
) -> None:
    redis = Redis.from_url(redis_server.url)
    online, earlier = OnlineScores(redis, "shop"), NOON - timedelta(hours=3)
    assert online.write([score("c1", NOON), score("c2", NOON, value=0.25)], KEEP, 1.0) == 2
    online.write([score("c1", earlier, value=0.1)], KEEP, 1.0)
    assert online.read("c1", NOON, KEEP) == score("c1", NOON)
    online.write([score("c1", NOON, version="12", value=0.9)], KEEP, 1.0)
    assert online.read("c1", NOON, KEEP) == score("c1", NOON, "12", 0.9)
    assert online.read("c2", NOON, KEEP) == score("c2", NOON, value=0.25)
    assert OnlineScores(redis, "other").read("c1", NOON, KEEP) is None


def test_a_score_counts_for_its_time_and_redis_forgets_it(redis_server: RedisServer) -> None:
    redis = Redis.from_url(redis_server.url)
    online = OnlineScores(redis, "shop")
    online.write([score("c1", NOON)], KEEP, speed=24.0)
    assert online.read("c1", NOON + KEEP, KEEP) is not None
    assert online.read("c1", NOON + KEEP + timedelta(seconds=1), KEEP) is None
    assert 7100 < redis.ttl("dojo:scores:shop:c1") <= 7200  # type: ignore[operator]
    assert expiry_seconds(KEEP, 2400.0) == 3600, "a paused demo keeps its scores over a lunch"
    assert expiry_seconds(KEEP, 0.0) == KEEP.total_seconds()
    redis.hset("dojo:scores:shop:c1", "batch", b"torn")
    with pytest.raises(MalformedValueError):
        online.read("c1", NOON, KEEP)


def test_a_run_puts_each_entitys_newest_score_online_and_repeats_nothing(
    world: ScoredDay, undisturbed: pl.DataFrame, tmp_path: Path, redis_server: RedisServer
) -> None:
    redis = Redis.from_url(redis_server.url)
    run = world.scoring(tmp_path).run(redis, speed=1.0)
    newest = undisturbed.with_columns(
        key=pl.col("entity_keys").str.json_path_match("$.customer")
    ).unique("key", keep="last", maintain_order=True)
    assert run.online == len(newest) == len(redis.keys("dojo:scores:*"))  # type: ignore[arg-type]
    online = OnlineScores(redis, "fraud_detection")
    for row in newest.iter_rows(named=True):
        found = online.read(row["key"], row["world_time"], KEEP)
        assert found == OnlineScore(
            row["key"], "1", row["world_time"], row["score"], row["flagged"]
        )
    redis.flushdb()
    assert world.scoring(tmp_path).run(redis, speed=1.0) == run
    assert redis.keys("dojo:scores:*") == []


def test_each_night_is_asked_for_once_and_another_worlds_is_forgotten(
    redis_server: RedisServer,
) -> None:
    nights = NightsAsked(Redis.from_url(redis_server.url))
    night = nights.due("shop", BATCH, NOON)
    assert night == Night("shop", (NOON - timedelta(days=1)).date())
    assert nights.due("shop", BATCH, NOON) == night, "it stays due until it was asked for"
    nights.asked(night)
    assert nights.due("shop", BATCH, NOON) is None
    assert nights.due("shop", BATCH, NOON + timedelta(days=3)) == Night(
        "shop", (NOON + timedelta(days=2)).date()
    )
    assert nights.due("shop", BATCH, NOON - timedelta(days=90)) is not None
