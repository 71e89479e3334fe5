"""Work orders on a real Redis: asked for once, and at most one open order of a kind.

Orders of a killed executor go on.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError

from dojo.core.state import work_orders
from dojo.core.state.work_orders import (
    Kind,
    OrderOpenError,
    UnknownOrderError,
    WorkOrder,
    WorkOrders,
)
from tests.support.servers import RedisServer

pytestmark = pytest.mark.integration

NOW = datetime(2030, 3, 1, tzinfo=UTC)


def order(name: str, kind: Kind = "evaluate", model: str = "m", **parameters: Any) -> WorkOrder:
    return WorkOrder(
        id=name,
        model=model,
        kind=kind,
        who="tests",
        why="a try",
        world_time=NOW,
        parameters=parameters,
    )


@pytest.fixture
def orders(redis_server: RedisServer) -> WorkOrders:
    return WorkOrders(Redis.from_url(redis_server.url))


def test_the_same_order_placed_again_is_the_one_that_was_placed(orders: WorkOrders) -> None:
    placed = orders.place(order("one", version="3"))
    assert orders.place(order("one", version="4")) == placed
    assert [work.order.id for work in orders.open()] == ["one"]
    orders.end("one", "done", {"verdict": "ok"})
    again = orders.place(order("one"))
    assert (again.state, again.answer) == ("done", {"verdict": "ok"})
    assert orders.open() == []


def test_one_of_a_kind_is_open_at_a_time_and_the_next_one_is_told_which(orders: WorkOrders) -> None:
    orders.place(order("one"))
    orders.place(order("other-kind", kind="retrain"))
    orders.place(order("other-model", model="n"))
    with pytest.raises(OrderOpenError, match="order one to evaluate is still open") as refused:
        orders.place(order("two"))
    assert refused.value.order_id == "one"
    assert orders.get("two") is None
    orders.begin("one")
    with pytest.raises(OrderOpenError):
        orders.place(order("two"))
    orders.end("one", "failed", {"error": "no luck"})
    assert orders.place(order("two")).state == "pending"
    assert [work.order.id for work in orders.open("m")] == ["other-kind", "two"]


def test_what_a_killed_executor_began_is_found_with_its_notes(
    orders: WorkOrders, redis_server: RedisServer
) -> None:
    orders.place(order("one", kind="retrain"))
    orders.begin("one")
    orders.note("one", as_of="2030-03-01")
    orders.note("one", run="airflow's")
    (found,) = WorkOrders(Redis.from_url(redis_server.url)).open()
    assert (found.state, found.attempts, found.notes) == (
        "running",
        1,
        {"as_of": "2030-03-01", "run": "airflow's"},
    )
    assert orders.begin("one").attempts == 2


def test_an_order_ends_once(orders: WorkOrders) -> None:
    orders.place(order("one"))
    ended = orders.end("one", "done", {"verdict": "degraded"})
    assert orders.end("one", "failed", {"error": "late"}) == ended
    assert orders.begin("one") == ended
    assert [work.order.id for work in orders.ended()] == ["one"]


def test_ten_that_ask_at_once_place_one(orders: WorkOrders, redis_server: RedisServer) -> None:
    """Ten callers ask at once, each with its own connection. Half of them use the same id."""
    barrier, placed, refused = threading.Barrier(10), [], []

    def ask(number: int) -> None:
        mine = WorkOrders(Redis.from_url(redis_server.url))
        barrier.wait()
        try:
            placed.append(mine.place(order("shared" if number % 2 else f"own-{number}")).order.id)
        except OrderOpenError as error:
            refused.append(error.order_id)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    (winner,) = [work.order.id for work in orders.open()]
    assert set(placed) | set(refused) == {winner}
    assert len(placed) + len(refused) == 10


def test_only_the_latest_ended_orders_are_kept(
    orders: WorkOrders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work_orders, "KEPT", 3)
    for number in range(5):
        orders.place(order(f"o{number}"))
        orders.end(f"o{number}", "done", {})
    assert [work.order.id for work in orders.ended()] == ["o4", "o3", "o2"]
    assert orders.get("o1") is None
    assert orders.get("o2") is not None


def test_orders_that_end_at_once_leave_only_the_latest_behind(
    orders: WorkOrders, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work_orders, "KEPT", 3)
    names = [f"o{number}" for number in range(16)]
    for name in names:
        orders.place(order(name, model=name))
    barrier = threading.Barrier(4)

    def end(mine: list[str]) -> None:
        own = WorkOrders(Redis.from_url(redis_server.url))
        barrier.wait()
        for name in mine:
            own.end(name, "done", {})

    threads = [threading.Thread(target=end, args=(names[first::4],)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    kept = {work.order.id for work in orders.ended()}
    assert (len(kept), orders.open()) == (3, [])
    keys = Redis.from_url(redis_server.url).keys("dojo:work:order:*")
    assert {key.decode().rpartition(":")[2] for key in keys} == kept


def test_wrong_orders_are_refused_at_the_door(orders: WorkOrders) -> None:
    with pytest.raises(ValueError, match="id: expected letters"):
        order("a/b")
    with pytest.raises(ValueError, match="with its zone"):
        WorkOrder(
            id="x",
            model="m",
            kind="retrain",
            who="w",
            why="y",
            world_time=datetime(2030, 3, 1),  # noqa: DTZ001
        )
    orders.place(order("big"))
    with pytest.raises(ValueError, match="keep data elsewhere"):
        orders.end("big", "done", {"rows": "x" * 70_000})
    with pytest.raises(UnknownOrderError):
        orders.begin("nobody's")


def test_an_absent_redis_is_said(redis_server: RedisServer) -> None:
    orders = WorkOrders(Redis.from_url(redis_server.url, socket_timeout=1))
    redis_server.stop()
    with pytest.raises(RedisError):
        orders.place(order("one"))
