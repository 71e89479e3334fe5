"""The world acts on the scores of a night, which it reads from the online store."""

from __future__ import annotations

import signal
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from structlog.testing import capture_logs

from dojo.core.connections import connect_redis
from dojo.core.lake import start_of
from dojo.core.spec.schema import ModelSpec
from dojo.core.tasks.specs import load_spec
from dojo.shop.events import MEMBERSHIPS
from feature_repo.online_scores import OnlineScore, OnlineScores
from services.simulator.days import WorldDays
from services.simulator.nightly import Nights
from services.simulator.opening import open_source
from tests.integration.services.simulator.test_world import town
from tests.support.servers import RedisServer, free_port

pytestmark = pytest.mark.integration

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SPECS: dict[str, ModelSpec] = {
    name: load_spec(Path(f"models/{name}.yaml")) for name in ("churn", "return_risk")
}


@pytest.fixture
def days(tmp_path: Path, redis_server: RedisServer) -> WorldDays:
    source = open_source(town(tmp_path, redis_server))
    labels = {name: spec.label for name, spec in SPECS.items()}
    return WorldDays(source, labels, 1, source.days()[0])


@pytest.fixture
def evening(days: WorldDays) -> datetime:
    """Return a day's end."""
    return start_of(days._first + 3 * DAY)


@pytest.fixture
def statements(days: WorldDays, evening: datetime) -> pl.DataFrame:
    return days.events(MEMBERSHIPS, (evening - DAY).date())


Score = Callable[[int, timedelta], None]


@pytest.fixture
def score(redis_server: RedisServer, statements: pl.DataFrame) -> Score:
    """Return what writes the score of a statement. The time may differ from its own."""
    store = OnlineScores(Redis.from_url(redis_server.url), "churn")

    def write(at: int, off: timedelta) -> None:
        row = statements.row(at, named=True)
        one = OnlineScore(row["customer_id"], "7", row["time"] + off, 0.25, True)
        store.write([one], 32 * DAY, 60)

    return write


def looked(nights: Nights, days: WorldDays, now: datetime) -> list[tuple[str, str, str, bool]]:
    found = []
    for night in nights.found(days, now):
        rows = night.events[MEMBERSHIPS]
        for reply in night.replies:
            said = reply.prediction
            assert said is not None
            assert said.flagged is not None
            assert said.value == 0.25
            name = rows["membership_id"][reply.row]
            found.append((name, said.version, said.arm, said.flagged))
    return found


def test_a_night_s_scores_are_found_once_and_late_ones_later(
    redis_server: RedisServer,
    days: WorldDays,
    statements: pl.DataFrame,
    evening: datetime,
    score: Score,
) -> None:
    nights = Nights(SPECS, Redis.from_url(redis_server.url))
    assert nights.scores_alone("churn")
    assert not nights.scores_alone("return_risk"), "its day is scored, but answers come online"
    names = statements["membership_id"].to_list()
    assert looked(nights, days, evening) == []
    score(0, timedelta(0))
    assert looked(nights, days, evening + HOUR / 2) == [], "a look a world hour"
    assert looked(nights, days, evening + HOUR) == [(names[0], "7", "batch", True)]
    score(1, timedelta(0))
    score(2, -HOUR)  # of another statement
    assert looked(nights, days, evening + 2 * DAY) == [(names[1], "7", "batch", True)]
    assert looked(nights, days, evening + 9 * DAY) == []


def test_a_statement_is_too_old_after_some_days(
    redis_server: RedisServer, days: WorldDays, evening: datetime, score: Score
) -> None:
    score(0, timedelta(0))
    nights = Nights(SPECS, Redis.from_url(redis_server.url))
    assert looked(nights, days, evening + 9 * DAY) == []


def test_a_store_that_is_away_is_looked_at_again(
    redis_server: RedisServer, days: WorldDays, evening: datetime, score: Score
) -> None:
    score(0, timedelta(0))
    nights = Nights(SPECS, Redis(port=free_port(), retry=None))
    with pytest.raises(RedisConnectionError):
        nights._models["churn"].scores.read("x", evening, DAY)
    assert looked(nights, days, evening) == []
    again = Nights(SPECS, Redis.from_url(redis_server.url))
    assert len(looked(again, days, evening + HOUR)) == 1


def test_a_store_that_hangs_is_waited_for_once_and_not_for_each_model(
    redis_server: RedisServer, days: WorldDays, evening: datetime
) -> None:
    nights = Nights(
        {"churn": SPECS["churn"], "also_of_the_night": SPECS["churn"]},
        connect_redis(redis_server.url, timedelta(milliseconds=50)),
    )
    redis_server.signal(signal.SIGSTOP)
    with capture_logs() as said:
        assert looked(nights, days, evening) == []
    assert [line["event"] for line in said] == ["no nightly scores"]


def test_a_broken_score_ends_the_look_and_not_the_world(
    redis_server: RedisServer,
    days: WorldDays,
    statements: pl.DataFrame,
    evening: datetime,
    score: Score,
) -> None:
    key = f"dojo:scores:churn:{statements['customer_id'][0]}"
    redis = Redis.from_url(redis_server.url)
    redis.hset(key, "batch", b"\xc1")
    score(1, timedelta(0))
    nights = Nights(SPECS, redis)
    assert looked(nights, days, evening) == []
    redis.delete(key)
    assert len(looked(nights, days, evening + HOUR)) == 1
