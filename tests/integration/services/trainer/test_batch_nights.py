"""The trainer's nightly batch scoring on a real Redis."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, timedelta

import pytest
from redis import Redis

from pipelines.batch_scoring.nights import Night, NightsAsked
from services.trainer.batch_nights import BatchNights
from services.trainer.child import ChildKilledError
from tests.support.payments import small_spec
from tests.support.scored_days import BATCH
from tests.support.servers import RedisServer

pytestmark = pytest.mark.integration

NOON = datetime(2018, 6, 24, 12, tzinfo=UTC)


class World:
    """A trainer in front of a launcher that answers as told."""

    def __init__(self, redis: Redis) -> None:
        self.now, self.answers, self.nights = NOON, ["done"] * 10, list[Night]()
        asked = small_spec("shop").model_copy(update={"batch": BATCH})
        specs = {"shop": asked, "silent": small_spec("silent")}
        self.trainer = BatchNights(specs, lambda: self.now, NightsAsked(redis), self._launch)

    def look(self, moment: datetime) -> None:
        self.now = moment
        self.trainer.look(threading.Event())

    def _launch(self, night: Night, stop: threading.Event) -> str:
        self.nights.append(night)
        answer = self.answers.pop(0)
        if answer == "killed":
            raise ChildKilledError("killed")
        return answer


@pytest.fixture
def world(redis_server: RedisServer) -> World:
    return World(Redis.from_url(redis_server.url))


def test_only_a_model_that_asks_is_scored_and_each_night_once(world: World) -> None:
    for hours in (0, 1, 14, 15, 38):
        world.look(NOON + timedelta(hours=hours))
    assert world.nights == [
        Night("shop", date(2018, 6, 23)),
        Night("shop", date(2018, 6, 24)),
        Night("shop", date(2018, 6, 25)),
    ]


def test_missed_nights_are_left_out(world: World) -> None:
    world.look(NOON)
    world.look(NOON + timedelta(days=9))
    assert [night.day for night in world.nights] == [date(2018, 6, 23), date(2018, 7, 2)]


def test_a_night_stays_due_while_another_runs_and_after_a_kill(world: World) -> None:
    world.answers = ["", "stopped", "killed", "failed", "done"]
    world.look(NOON)
    world.look(NOON)
    with pytest.raises(ChildKilledError):
        world.look(NOON)
    world.look(NOON)
    world.look(NOON)
    assert world.nights == [Night("shop", date(2018, 6, 23))] * 4
