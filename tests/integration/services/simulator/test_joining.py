"""Models join a world that exists: it gets the past that would have been, and goes on with them."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from redis import Redis

from dojo.core.events.columns import frame_of
from dojo.core.events.log import RedisEventLog
from dojo.core.events.types import Outcome, Stream
from dojo.core.lake import Lake
from dojo.core.settings import Settings
from dojo.core.spec.schema import Label
from dojo.core.tasks.specs import load_spec
from dojo.shop.events import DECISIONS, ORDERS, TRANSACTIONS, Decision, Order
from services.simulator.days import WorldDays
from services.simulator.events import event_history, outcome_history
from services.simulator.joining import join
from services.simulator.opening import open_source
from services.simulator.town.orders import order_of
from services.simulator.world import WORLD_FILE
from tests.integration.services.simulator.answering import lives
from tests.integration.services.simulator.test_world import DAY, events, town
from tests.support.servers import RedisServer, free_port

pytestmark = pytest.mark.integration

FRAUD, DELIVERY = "fraud_detection", "delivery_time"
BOTH = (FRAUD, DELIVERY)


def labels_of(*models: str) -> dict[str, Label]:
    return {model: load_spec(Path(f"models/{model}.yaml")).label for model in models}


def days_of(settings: Settings, first: datetime) -> WorldDays:
    return WorldDays(open_source(settings), labels_of(*BOTH), settings.seed, first.date())


def ids(lake: Lake, stream: str, end: datetime) -> list[str]:
    rows = lake.scan(stream, end=end)
    if stream == Stream.OUTCOMES:
        rows = rows.filter(model=DELIVERY)
    return sorted(rows.select("event_id").collect().to_series())


def test_a_model_joins_leaves_and_returns(tmp_path: Path, redis_server: RedisServer) -> None:
    """Four lives, each killed at its end."""
    ports = {"simulator_port": free_port(), "gateway_port": free_port()}
    settings = town(tmp_path / "home", redis_server, **ports)
    lake = Lake(settings.lake_dir)
    half, whole = timedelta(hours=12), timedelta(hours=24)

    def life(models: tuple[str, ...], hours: float) -> datetime:
        return next(lives(settings, redis_server, tmp_path, models, (hours,)))

    begun = life((FRAUD,), 12)
    assert not (lake.root / ORDERS).exists()
    old = (settings.home / WORLD_FILE).read_text()
    life(BOTH, 12)  # from the present on, so it is 24 hours after history

    first = datetime.combine(lake.days(TRANSACTIONS)[0], begun.timetz())  # type: ignore[index]
    world, joined = days_of(settings, first), begun + half
    span = [first.date() + DAY * n for n in range((begun - first).days + 1)]
    happened = pl.concat(event_history(ORDERS, world.events(ORDERS, day)) for day in span)
    known = pl.concat(outcome_history(world.outcomes(day)) for day in span)
    orders = happened.filter(pl.col("world_time") < joined)
    labels = known.filter(pl.col("model") == DELIVERY, pl.col("world_time") < joined)
    assert orders.height > 1000
    assert ids(lake, ORDERS, joined) == sorted(orders["event_id"])
    assert ids(lake, Stream.OUTCOMES, joined + 9 * DAY) == sorted(labels["event_id"])

    told = [e for e in events(redis_server, ORDERS) if isinstance(e, Order)]
    assert {e.event_id for e in told} == set(
        happened.filter(pl.col("world_time").is_between(joined - DAY, begun + whole))["event_id"]
    ), "the last day of the past, and what was lived since"
    told_labels = [e for e in events(redis_server, Stream.OUTCOMES) if isinstance(e, Outcome)]
    assert {e.event_id for e in told_labels if e.model == DELIVERY} == set(
        known.filter(
            pl.col("model") == DELIVERY,
            pl.col("world_time").is_between(joined, begun + whole, closed="left"),
        )["event_id"]
    )

    new = (settings.home / WORLD_FILE).read_text()
    assert DELIVERY not in old
    assert DELIVERY in new
    life((FRAUD,), 1)  # it leaves, and the world goes on with its orders
    assert (settings.home / WORLD_FILE).read_text() == new
    later = [e.world_time for e in events(redis_server, ORDERS)]
    assert max(later) > begun + whole
    (settings.home / WORLD_FILE).write_text(old)  # as if the join had been killed before its end
    life(BOTH, 1)
    assert (settings.home / WORLD_FILE).read_text() == new
    assert ids(lake, ORDERS, joined) == sorted(orders["event_id"]), "nothing is there twice"


def test_what_the_shop_stopped_has_no_order_and_no_label(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    settings = town(tmp_path, redis_server)
    lake, log = Lake(settings.lake_dir), RedisEventLog(Redis.from_url(redis_server.url), 10_000)
    first = datetime.fromisoformat("2024-01-01T00:00+00:00")
    world = days_of(settings, first)
    payments = world.events(TRANSACTIONS, first.date())
    ordered = {name[1:] for name in world.events(ORDERS, first.date())["order_id"]}
    rows = payments.iter_rows(named=True)
    declined, approved = [row for row in rows if row["transaction_id"] in ordered][:2]
    lake.write(
        DECISIONS,
        frame_of(
            DECISIONS,
            [
                Decision(
                    event_id=Decision.id_for(FRAUD, row["transaction_id"]),
                    world_time=row["time"],
                    wall_time=row["time"],
                    model=FRAUD,
                    version="1",
                    arm="champion",
                    request_id=row["transaction_id"],
                    amount=row["amount"],
                    action=action,
                    release_share=0.05,
                )
                for row, action in ((declined, "declined"), (approved, "approved"))
            ],
        ),
        "part",
    )
    now = first + 20 * DAY
    for model, streams in ((DELIVERY, [ORDERS]), (FRAUD, [])):
        join(world, lake, log, {model}, streams, first.date(), now)
    orders = set(lake.scan(ORDERS).collect()["order_id"])
    assert order_of(declined["transaction_id"]) not in orders
    assert order_of(approved["transaction_id"]) in orders
    known = lake.scan(Stream.OUTCOMES).collect()
    labelled = set(known.filter(model=FRAUD)["request_id"])
    assert not labelled & {declined["transaction_id"], approved["transaction_id"]}
    delivered = set(known.filter(model=DELIVERY)["request_id"])
    assert order_of(declined["transaction_id"]) not in delivered
    assert order_of(approved["transaction_id"]) in delivered
