"""Dead letters on a real Redis: each message once, a bounded number, apart from usable messages."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from redis import Redis

from dojo.core.connections import connect_redis
from dojo.core.events.dead_letters import DEAD_LETTERS, KEPT, LONGEST_PAYLOAD, DeadLetters, sift
from dojo.core.events.log import PAYLOAD_FIELD, Delivery, RedisEventLog, stream_key
from dojo.core.events.streams import encode
from dojo.shop.events import TRANSACTIONS, Transaction
from tests.support.servers import RedisServer

pytestmark = pytest.mark.integration

TX = TRANSACTIONS
NOON = datetime(2018, 6, 10, 12, tzinfo=UTC)
NO_TIME, MOMENT = timedelta(0), timedelta(milliseconds=1)
GOOD = encode(
    Transaction(
        event_id="a",
        world_time=NOON,
        wall_time=NOON,
        transaction_id="1",
        customer_id="c",
        merchant_id="m",
        amount=1.0,
    )
)


@pytest.fixture
def redis(redis_server: RedisServer) -> Redis:
    return connect_redis(redis_server.url)


def rejected(number: int, payload: bytes = b"x") -> tuple[Delivery, str]:
    return Delivery(f"{1_700_000_000_000 + number}-0", payload), "because"


def counted() -> float:
    return DEAD_LETTERS.labels(TX)._value.get()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda good: good[:-1], "transactions: "),
        (
            lambda good: good.replace(b"2018-06-10T12:00:00Z", b"9999-12-31T23:00:00-14:00"),
            "lies outside",
        ),
        (
            lambda good: good.replace(b"2018-06-10T12:00:00Z", b"1000-01-01T00:00:00Z"),
            "lies outside",
        ),
        (lambda good: good.replace(b'"amount":1.0', b'"amount":13.0'), "unlucky"),
    ],
)
def test_a_message_that_cannot_be_used_is_told_apart_and_the_others_keep_their_order(
    change: Callable[[bytes], bytes], reason: str
) -> None:
    messages = [Delivery("1-0", GOOD), Delivery("2-0", change(GOOD)), Delivery("3-0", GOOD)]
    events, ((delivery, why),) = sift(
        Transaction, messages, lambda event: "unlucky" if event.amount == 13 else ""
    )
    assert [found.message_id for found, _ in events] == ["1-0", "3-0"]
    assert delivery == messages[1]
    assert reason in why


def test_a_message_that_comes_again_is_kept_and_counted_once(redis: Redis) -> None:
    before = counted()
    DeadLetters(redis, "recorder").keep(TX, [rejected(1, b"\xffbad"), rejected(2)])
    DeadLetters(redis, "recorder").keep(
        TX, [rejected(2), rejected(3)]
    )  # as after a kill before the acknowledgement
    letters = DeadLetters(redis, "recorder").newest(9)
    assert [letter.message_id[-3:] for letter in letters] == ["3-0", "2-0", "1-0"], "newest first"
    assert (letters[-1].stream, letters[-1].reason) == (TX, "because")
    assert letters[-1].payload == "\N{REPLACEMENT CHARACTER}bad"
    assert counted() - before == 3
    assert DeadLetters(redis, "streamer").newest(9) == [], "each service has its own"


def test_a_service_that_dies_between_keeping_and_acknowledging_keeps_one_letter(
    redis: Redis,
) -> None:
    log, letters = RedisEventLog(redis, 1_000), DeadLetters(redis, "recorder", [TX])
    redis.xadd(stream_key(TX), {PAYLOAD_FIELD: b"not JSON"})
    for _ in range(3):  # processes die before they acknowledge
        found = [*log.reclaim(TX, "g", "c", 10, NO_TIME), *log.read(TX, "g", "c", 10, MOMENT)]
        letters.keep(TX, sift(Transaction, found)[1])
    log.acknowledge(TX, "g", [delivery.message_id for delivery in found])
    (letter,) = letters.newest(9)
    assert letter.payload == "not JSON"
    assert log.lag(TX, "g") == 0


def test_dead_letters_take_bounded_space_and_the_newest_stay(redis: Redis) -> None:
    letters, before = DeadLetters(redis, "recorder"), counted()
    letters.keep(TX, [rejected(number) for number in range(KEPT)])
    letters.keep(
        TX, [rejected(KEPT + number, b"y" * (2 * LONGEST_PAYLOAD)) for number in range(KEPT // 2)]
    )
    assert redis.zcard("dojo:dead-letters:recorder") == KEPT
    found = letters.newest(KEPT)
    assert found[0].message_id == rejected(KEPT + KEPT // 2 - 1)[0].message_id
    assert found[-1].message_id == rejected(KEPT // 2)[0].message_id
    assert len(found[0].payload) == LONGEST_PAYLOAD
    assert counted() - before == KEPT + KEPT // 2, "what was displaced was counted"
