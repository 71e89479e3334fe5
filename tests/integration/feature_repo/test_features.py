"""The same feature has the same value in training and in serving.

Redis, Feast, the streamer and the materializer are real.
"""

from __future__ import annotations

import json
import random
import re
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from redis import Redis
from redis.exceptions import RedisError
from typer.testing import CliRunner

from dojo.cli.training.features import app
from dojo.core.events.dead_letters import DeadLetters
from dojo.core.events.log import PAYLOAD_FIELD, RedisEventLog, stream_key
from dojo.core.events.streams import encode
from dojo.core.events.types import Stream
from dojo.core.lake import Lake, content_hash
from dojo.core.state.clock import RedisWorldClock, wall_now
from dojo.shop.events import TRANSACTIONS, Transaction
from dojo.shop.world_drift import DriftTable
from feature_repo.catalog import ENTITY_KEYS, SERVICES, VIEWS
from feature_repo.freshness import read_freshness
from feature_repo.online_layout import (
    EPOCH,
    MalformedValueError,
    ViewLayout,
    entity_key,
    layout_of,
)
from feature_repo.store import open_store
from pipelines.features.materialize import MARK_KEY, materialize
from pipelines.features.offline import Progress, build_offline
from pipelines.features.point_in_time import point_in_time_rows
from tests.support.feature_reference import (
    Payment,
    activity_at,
    outcomes_of,
    streams_of,
    transactions_of,
)
from tests.support.paths import STRANGE_NAME
from tests.support.servers import RedisServer, Server, free_port, http_ok, wait_until

pytestmark = pytest.mark.integration

SERVICE = "fraud_detection_v1"
START = datetime(2026, 1, 1, tzinfo=UTC)
HISTORY_DAYS = 45
NOW = START + timedelta(
    days=HISTORY_DAYS, hours=8
)  # two hours after the day's batch features are published
CUSTOMERS, MERCHANTS = [f"c{n}" for n in range(12)], [f"m{n}" for n in range(8)]
STORED = [f"{view.name}:{feature.name}" for view in VIEWS.values() for feature in view.features]


def made_payments(
    start: datetime, end: datetime, count: int, seed: int, prefix: str
) -> list[Payment]:
    chance = random.Random(seed)
    span = int((end - start).total_seconds())
    result = []
    for number in range(count):
        moment = start + timedelta(seconds=chance.randrange(span))
        arrival = moment + timedelta(hours=chance.choice([10, 60, 160, 220]))
        customer, merchant = chance.choice(CUSTOMERS), chance.choice(MERCHANTS)
        result.append(
            Payment(
                f"{prefix}{number}",
                customer,
                merchant,
                moment,
                chance.randrange(20_000),
                int(chance.random() < 0.1),
                arrival,
            )
        )
    return sorted(result, key=lambda payment: payment.time)


def events_of(payments: Sequence[Payment]) -> list[Transaction]:
    return [
        Transaction(
            event_id=Transaction.id_for(p.transaction_id),
            world_time=p.time,
            wall_time=wall_now(),
            transaction_id=p.transaction_id,
            customer_id=p.customer_id,
            merchant_id=p.merchant_id,
            amount=p.amount,
        )
        for p in payments
    ]


class World:
    """A test's own lake, Redis with an event log, Feast store and streamer.

    Args:
        online_url: An online store of its own. By default it is in the one Redis.
    """

    def __init__(self, directory: Path, online_url: str | None = None) -> None:
        self.home = directory / STRANGE_NAME
        self.server = RedisServer(directory)
        self.redis = Redis.from_url(self.server.url)
        self.log = RedisEventLog(self.redis, 100_000)
        self.lake = Lake(self.home / "lake")
        self.online_url = online_url or self.server.url
        self.store = open_store(self.home / "features", self.online_url, directory / "registry.db")
        self.server.start()
        self.streamer_port, self.materializer_port = free_port(), free_port()
        self.env = {
            "DOJO_HOME": str(self.home),
            "DOJO_REDIS_URL": self.server.url,
            "DOJO_STREAMER_PORT": str(self.streamer_port),
            "DOJO_MATERIALIZER_PORT": str(self.materializer_port),
            "DOJO_ONLINE_STORE_URL": self.online_url,
        }
        self.streamer = Server(
            "streamer", [sys.executable, "-m", "services.streamer"], directory, self.env
        )
        self.materializer = Server(
            "materializer", [sys.executable, "-m", "services.materializer"], directory, self.env
        )

    def write_lake(self, payments: Sequence[Payment], name: str, until: datetime) -> None:
        for stream, rows in (
            (TRANSACTIONS, transactions_of(payments)),
            (Stream.OUTCOMES, outcomes_of(payments)),
        ):
            rows = rows.filter(pl.col("world_time") < until)
            key = "transaction_id" if stream == TRANSACTIONS else "request_id"
            self.lake.write(
                stream,
                rows.with_columns(
                    event_id=pl.format(f"{stream}-{{}}", key), wall_time="world_time"
                ),
                name,
            )

    def go_to(self, moment: datetime) -> None:
        """Set the world's time, and wait until the streamer has seen it.

        The streamer takes no events from far ahead of the world.
        """
        RedisWorldClock(self.redis).set(moment, 0)

        def seen() -> bool:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.streamer_port}/healthz", timeout=5
            ) as answer:
                as_of = json.load(answer)["as_of"]
            return as_of is not None and datetime.fromisoformat(as_of) >= moment

        wait_until(seen, 20, f"the streamer is at {moment}")

    def materialize(
        self, as_of: datetime, progress: Progress | None = None, afresh: bool = False
    ) -> Any:
        online, offline = Redis.from_url(self.online_url), self.home / "features"
        return materialize(
            self.lake, self.store, offline, self.redis, online, as_of, progress, afresh
        )

    def streamed(self) -> bool:
        return (
            bool(self.redis.exists(stream_key(TRANSACTIONS)))
            and self.log.lag(TRANSACTIONS, "streamer") == 0
        )

    def online(self, rows: Sequence[dict[str, Any]], features: Any = STORED) -> pl.DataFrame:
        return pl.DataFrame(
            self.store.get_online_features(features=features, entity_rows=list(rows)).to_dict(),
            strict=False,
        )

    def start_streamer(self) -> None:
        self.streamer.start()
        wait_until(
            self.streamed, 90, f"the streamer has caught up; its log ends:\n{self.streamer.tail()}"
        )

    def stop(self) -> None:
        for server in (self.streamer, self.materializer, self.server):
            server.stop()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Prepare 45 days of history in the lake.

    The streamer gets the last day. Then the features are materialised, and the streamer goes on.
    """
    world = World(tmp_path_factory.mktemp("features"))
    history = made_payments(START, NOW, 1500, 1, "h")
    world.write_lake(history, "history", NOW)
    RedisWorldClock(world.redis).set(NOW, 0)
    world.log.append(events_of([p for p in history if p.time >= NOW - timedelta(days=1)]))
    world.start_streamer()
    world.materialize(NOW)
    yield world
    world.stop()


def every_entity(moment: datetime) -> pl.DataFrame:
    """Return examples at `moment` with every customer and every merchant."""
    pairs = [(CUSTOMERS[n % len(CUSTOMERS)], MERCHANTS[n % len(MERCHANTS)]) for n in range(24)]
    return pl.DataFrame(
        {
            "transaction_id": [f"example-{n}" for n in range(24)],
            "customer_id": [pair[0] for pair in pairs],
            "merchant_id": [pair[1] for pair in pairs],
            "event_timestamp": pl.Series([moment] * 24, dtype=pl.Datetime("us", "UTC")),
            "amount": [10.0 + n for n in range(24)],
        }
    )


def assert_no_skew(
    world: World, history: Sequence[Payment], moment: datetime, workspace: Path
) -> None:
    """Compare training's and serving's values at `moment`, for every entity and feature.

    Training computes them anew from all events.
    """
    build_offline(streams_of(history), workspace / "features", START.date(), moment.date())
    training = point_in_time_rows(
        open_store(workspace / "features", world.server.url, workspace / "registry.db"),
        SERVICE,
        every_entity(moment),
    )
    requests = [
        {
            "customer_id": row["customer_id"],
            "merchant_id": row["merchant_id"],
            "amount": row["amount"],
            "transaction_time": moment.timestamp(),
        }
        for row in every_entity(moment).to_dicts()
    ]
    serving = world.online(requests, world.store.get_feature_service(SERVICE))
    for feature in SERVICES[SERVICE].features:
        if feature == "amount":
            continue  # the caller sends it in both cases
        expected = training[feature].cast(pl.Float64).to_list()
        found = serving[feature].cast(pl.Float64).fill_null(0.0).to_list()
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-6), feature
    assert training["customer_tx_count_24h"].sum() > 0
    assert training["merchant_risk_30d"].sum() > 0


def test_rows_of_another_release_are_written_anew_when_asked_for(world: World) -> None:
    """The first test of this world. Later ones stream events that its lake does not have."""
    view, key = "customer_activity", entity_key("customer", CUSTOMERS[0])
    layout = layout_of(view)
    right = world.redis.hget(key, layout.field)
    row = layout.unpack(right)
    other = ViewLayout(view, layout.features[::-1])
    moment = EPOCH + timedelta(microseconds=row.event_time)
    world.redis.hset(key, layout.field, other.pack(moment, row.values[::-1]))
    world.materialize(NOW)  # the streamer keeps the view fresh, so its rows are not offered
    with pytest.raises(MalformedValueError):
        layout.unpack(world.redis.hget(key, layout.field))
    world.materialize(NOW, afresh=True)
    assert world.redis.hget(key, layout.field) == right


def test_offline_equals_online_for_every_entity_after_history_and_live_traffic(
    world: World, tmp_path: Path
) -> None:
    history = made_payments(START, NOW, 1500, 1, "h")
    assert_no_skew(world, history, NOW, tmp_path / "history")

    live = made_payments(NOW, NOW + timedelta(hours=6), 120, 2, "l")
    arriving = events_of(live)
    random.Random(3).shuffle(arriving)  # late and out of order
    for start in range(0, len(arriving), 7):
        world.log.append(arriving[start : start + 7])
    world.log.append(arriving[10:30])  # delivered twice
    wait_until(world.streamed, 30, "the streamer has caught up with live traffic")
    assert_no_skew(world, [*history, *live], NOW + timedelta(hours=6), tmp_path / "live")


def test_running_again_and_running_late_change_nothing_online(world: World) -> None:
    def everything() -> dict[bytes, Any]:
        rows = [
            key for entity in ENTITY_KEYS for key in world.redis.scan_iter(entity_key(entity, "*"))
        ]
        return {key: world.redis.hgetall(key) for key in rows}

    before, files = everything(), _contents(world.home / "features")
    assert len(before) == len(CUSTOMERS) + len(MERCHANTS)
    again = world.materialize(NOW)
    assert (again.days_built, again.rows_built) == (0, 0)
    assert everything() == before
    assert _contents(world.home / "features") == files
    for view in VIEWS.values():  # an old job runs late
        world.store.materialize(
            NOW - timedelta(days=20), NOW - timedelta(days=3), feature_views=[view.name]
        )
    assert everything() == before


def _contents(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): content_hash(
            pl.read_parquet(path, hive_partitioning=False, glob=False)
        )
        for path in directory.rglob("*.parquet")
    }


def test_a_late_event_changes_the_window_once_however_often_it_comes(world: World) -> None:
    at = NOW + timedelta(days=5)
    world.go_to(at)
    first, latest, late = (
        Payment(
            f"late{n}",
            "late-customer",
            "late-merchant",
            at + timedelta(minutes=minute),
            cents,
            0,
            None,
        )
        for n, (minute, cents) in enumerate([(0, 1000), (30, 2000), (10, 500)])
    )

    def counted() -> tuple[float, float, float]:
        row = world.online([{"customer_id": "late-customer", "merchant_id": "late-merchant"}]).row(
            0, named=True
        )
        return (
            row["customer_last_tx_count_1h"],
            row["customer_last_amount_24h"],
            row["merchant_last_tx_count_1h"],
        )

    for payment, expected in (
        (first, (1, 10.0, 1)),
        (latest, (2, 30.0, 2)),
        (late, (3, 35.0, 3)),
        (late, (3, 35.0, 3)),
    ):
        world.log.append(events_of([payment]))
        wait_until(world.streamed, 20, "the streamer took the event")
        assert counted() == expected


def test_a_poison_message_is_counted_and_kept_and_stops_nothing(world: World) -> None:
    world.go_to(NOW + timedelta(days=6))
    in_a_year = Payment(
        "in-a-year", "poison-customer", "poison-merchant", NOW + timedelta(days=365), 100, 0, None
    )
    poison = [
        b"{not json",
        b'{"event_id": "tx-1"}',
        b"",
        b'{"amount": NaN}',
        *map(encode, events_of([in_a_year])),
    ]
    for payload in poison:
        world.redis.xadd(stream_key(TRANSACTIONS), {PAYLOAD_FIELD: payload})
    world.redis.xadd(stream_key(TRANSACTIONS), {b"other": b"field"})
    after = Payment(
        "after-poison", "poison-customer", "poison-merchant", NOW + timedelta(days=6), 4200, 0, None
    )
    world.log.append(events_of([after]))
    wait_until(world.streamed, 20, "the streamer went on")
    assert world.online([{"customer_id": "poison-customer", "merchant_id": "m0"}])[
        "customer_last_amount_1h"
    ].to_list() == [42.0]
    assert {one.payload.encode() for one in DeadLetters(world.redis, "streamer").newest(9)} == set(
        poison
    )
    metrics = (
        urllib.request.urlopen(f"http://127.0.0.1:{world.streamer_port}/metrics", timeout=5)
        .read()
        .decode()
    )
    assert f'dojo_dead_letters_total{{stream="transactions"}} {len(poison) + 1}.0' in metrics


def test_a_streamer_killed_mid_way_loses_nothing(world: World, tmp_path: Path) -> None:
    at = NOW + timedelta(days=8)
    world.go_to(at)
    payments = [
        Payment(
            f"k{n}",
            f"killed-{n % 5}",
            f"shop-{n % 3}",
            at + timedelta(seconds=10 * n),
            100 + n,
            0,
            None,
        )
        for n in range(3000)
    ]
    events = events_of(payments)

    def applied(at_least: int) -> bool:
        return (
            sum(world.redis.zcard(f"dojo:window:customer_activity:killed-{n}") for n in range(5))
            >= at_least
        )

    world.log.append(events[:1200])
    wait_until(lambda: applied(1), 20, "the first windows have changed", every=0.001)
    world.streamer.kill()
    world.log.append(events[1200:])
    world.start_streamer()
    for number in range(5):
        key = f"killed-{number}"
        found = world.online([{"customer_id": key, "merchant_id": "shop-0"}]).row(0, named=True)
        own = [p for p in payments if p.customer_id == key]
        expected = activity_at(own, "customer_id", key, own[-1].time)
        assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_the_point_in_time_join_gives_what_feasts_own_join_gives(world: World) -> None:
    from feast.infra.offline_stores.duckdb import DuckDBOfflineStore

    moments = [
        START + timedelta(days=2, hours=5),
        START + timedelta(days=20, hours=6),
        NOW - timedelta(hours=1),
        NOW,
    ]
    moments += [
        NOW + timedelta(days=20),
        NOW + timedelta(days=40),
    ]  # beyond the batch views' TTL, beyond every TTL
    tie = world_rows(world).filter(pl.col("customer_id") == "c1")["event_timestamp"][
        40
    ]  # exactly at a row's own time
    examples = pl.concat([every_entity(moment) for moment in [*moments, tie]]).sample(
        fraction=1.0, shuffle=True, seed=1
    )
    ours = point_in_time_rows(world.store, SERVICE, examples)
    assert ours["transaction_id"].equals(examples["transaction_id"])

    asked = examples.select("transaction_id", "customer_id", "merchant_id", "event_timestamp")
    theirs = DuckDBOfflineStore.get_historical_features(
        config=world.store.config,
        feature_views=[world.store.get_feature_view(view) for view in VIEWS],
        feature_refs=STORED,
        entity_df=asked.to_pandas(),
        registry=world.store.registry,
        project=world.store.project,
    ).to_df()
    keys = ["transaction_id", "event_timestamp"]
    expected = (
        pl.DataFrame(theirs)
        .with_columns(pl.col("event_timestamp").cast(pl.Datetime("us", "UTC")))
        .sort(keys)
    )
    names = [feature.name for view in VIEWS.values() for feature in view.features]
    found = ours.sort(keys)
    for name in names:
        wanted = expected[name].cast(pl.Float64).fill_null(0.0).cast(found[name].dtype)
        assert found[name].equals(wanted, null_equal=True, check_names=False), name
    halves = pl.concat(
        [
            point_in_time_rows(world.store, SERVICE, examples[:70]),
            point_in_time_rows(world.store, SERVICE, examples[70:]),
        ]
    )
    assert halves.equals(ours)


def world_rows(world: World) -> pl.DataFrame:
    files = sorted((world.home / "features" / "customer_activity").glob("*.parquet"))
    return pl.read_parquet(files, hive_partitioning=False, glob=False).sort("event_timestamp")


def test_the_resident_materializer_follows_the_world_by_itself_unless_it_is_told_to_stop(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    clock = RedisWorldClock(world.redis)
    world.materializer.start()
    healthz = f"http://127.0.0.1:{world.materializer_port}/healthz"

    def state() -> dict[str, Any]:
        with urllib.request.urlopen(healthz, timeout=5) as answer:
            health: dict[str, Any] = json.load(answer)
            return health

    try:
        wait_until(
            lambda: http_ok(healthz) and "no time yet" in state()["state"],
            60,
            "it waits for a world, healthy",
        )
        history = made_payments(START, START + timedelta(days=12, hours=6), 300, 5, "h")
        world.write_lake(history, "history", START + timedelta(days=11, hours=12))
        clock.set(START + timedelta(days=11, hours=12), 0)
        wait_until(
            lambda: state()["runs"] == 1,
            60,
            f"the initial run; its log ends:\n{world.materializer.tail()}",
        )
        fresh = {view.view: view for view in read_freshness(world.redis, clock.now())}
        assert fresh["customer_daily"].as_of == START + timedelta(days=11, hours=6)
        assert {view.verdict for name, view in fresh.items() if VIEWS[name].kind == "batch"} == {
            "ok"
        }

        world.write_lake(
            [p for p in history if p.time >= START + timedelta(days=11, hours=12)],
            "part-1",
            START + timedelta(days=12, hours=6),
        )
        clock.set(START + timedelta(days=12, hours=5, minutes=59), 0)
        assert read_freshness(world.redis, clock.now())[0].as_of == START + timedelta(
            days=11, hours=6
        )
        # The features are stale on purpose. The due job waits, gives the reason, and goes on
        # reporting all ages.
        drifts = DriftTable(world.redis)
        drifts.start("stale_features", clock.now())
        clock.set(START + timedelta(days=12, hours=6), 0)
        wait_until(
            lambda: state()["state"].startswith("paused by caused drift since 2026-01-13 05:59"),
            30,
            "it pauses",
        )
        address = f"http://127.0.0.1:{world.materializer_port}/metrics"

        def metrics() -> str:
            with urllib.request.urlopen(address, timeout=5) as answer:
                return str(answer.read().decode())

        age = 'dojo_materializer_freshness_seconds{view="customer_daily"} 86400.0'
        wait_until(lambda: age in metrics(), 10, "it reports the age")
        assert state()["runs"] == 1
        assert read_freshness(world.redis, clock.now())[0].as_of == START + timedelta(
            days=11, hours=6
        )
        drifts.stop("stale_features", clock.now())
        wait_until(lambda: state()["runs"] == 2, 30, "the next midnight's run")
        assert read_freshness(world.redis, clock.now())[0].as_of == START + timedelta(
            days=12, hours=6
        )
        assert world.materializer.stop(within=10) == 0
    finally:
        world.stop()


def test_materialize_on_the_command_line_says_what_it_did(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in world.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DOJO_ONLINE_STORE_URL", "")
    world.go_to(NOW)
    answer = CliRunner().invoke(app, ["materialize", "--as-of", NOW.isoformat(), "--json"])
    assert answer.exit_code == 0, answer.output
    done = json.loads(answer.stdout)
    assert done["days_built"] == 0
    assert {view["view"]: view["entities"] for view in done["views"]}["merchant_daily"] == len(
        MERCHANTS
    )
    assert CliRunner().invoke(app, ["materialize", "--as-of", "yesterday"]).exit_code == 2
    shown = CliRunner().invoke(app, ["catalog", "--json"])
    freshness = {entry["view"]: entry["freshness"] for entry in json.loads(shown.stdout)}
    assert freshness["customer_daily"] == "ok"


@pytest.fixture
def online_store(tmp_path: Path) -> Iterator[RedisServer]:
    """Start a Redis for the online store alone, as containers have it."""
    server = RedisServer(tmp_path / "online")
    server.start()
    yield server
    server.stop()


def rows_in(online: Redis) -> dict[bytes, Any]:
    return {key: online.hgetall(key) for key in online.scan_iter() if key != MARK_KEY.encode()}


def test_an_emptied_online_store_is_told_and_gets_the_same_rows_again(
    tmp_path: Path, online_store: RedisServer
) -> None:
    online, world = Redis.from_url(online_store.url), World(tmp_path, online_store.url)
    now = START + timedelta(days=11, hours=12)

    def metric(name: str) -> float:
        address = f"http://127.0.0.1:{world.materializer_port}/metrics"
        text = urllib.request.urlopen(address, timeout=5).read().decode()
        (line,) = re.findall(rf"^dojo_materializer_{name}_total (\S+)$", text, re.MULTILINE)
        return float(line)

    def ran(times: int) -> bool:
        healthz = f"http://127.0.0.1:{world.materializer_port}/healthz"
        return http_ok(healthz) and metric("runs") == times

    try:
        world.write_lake(made_payments(START, now, 300, 5, "h"), "history", now)
        RedisWorldClock(world.redis).set(now, 0)
        world.materializer.start()
        wait_until(lambda: ran(1), 60, "the initial run")
        before = rows_in(online)
        assert len(before) > len(CUSTOMERS)
        assert metric("store_losses") == 0
        online.flushall()
        wait_until(lambda: ran(2), 30, "a run that nothing else asks for")
        assert rows_in(online) == before
        assert metric("store_losses") == 1
    finally:
        world.stop()


def test_a_store_that_gets_a_redis_of_its_own_gets_the_rows_of_yesterday(
    tmp_path: Path, online_store: RedisServer
) -> None:
    online, world = Redis.from_url(online_store.url), World(tmp_path)
    now = START + timedelta(days=11, hours=12)
    try:
        world.write_lake(made_payments(START, now, 300, 5, "h"), "history", now)
        RedisWorldClock(world.redis).set(now, 0)
        world.materialize(now)
        entities = {entity_key(view.entity, "") for view in VIEWS.values()}
        yesterday = {
            key: world.redis.hgetall(key)
            for key in world.redis.scan_iter()
            if key.startswith(tuple(entities))
        }
        assert len(yesterday) > len(CUSTOMERS)
        world.materializer = Server(
            "materializer",
            [sys.executable, "-m", "services.materializer"],
            tmp_path,
            {**world.env, "DOJO_ONLINE_STORE_URL": online_store.url},
        )
        world.materializer.start()
        wait_until(lambda: rows_in(online) == yesterday, 60, "the same rows, in the other Redis")
    finally:
        world.stop()


def test_a_full_online_store_is_named_with_its_limit(
    tmp_path: Path, online_store: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, now = World(tmp_path, online_store.url), START + timedelta(days=11, hours=12)
    try:
        world.write_lake(made_payments(START, now, 300, 5, "h"), "history", now)
        for name, value in world.env.items():
            monkeypatch.setenv(name, value)
        Redis.from_url(online_store.url).config_set("maxmemory", 1)
        answer = CliRunner().invoke(app, ["materialize", "--as-of", now.isoformat()])
        said = " ".join(answer.stderr.split())
        assert answer.exit_code == 1, answer.output
        assert f"Redis at 127.0.0.1:{online_store.port} is full and refuses to write" in said
        assert f"redis-cli -h 127.0.0.1 -p {online_store.port} config set maxmemory 2" in said
    finally:
        world.stop()


def test_a_store_that_is_emptied_during_a_run_is_no_run(
    tmp_path: Path, online_store: RedisServer
) -> None:
    online, world = Redis.from_url(online_store.url), World(tmp_path, online_store.url)
    now, last = START + timedelta(days=11, hours=12), [*VIEWS][-1]

    def empty(what: str, _share: float) -> None:
        if what == f"online: {last}":
            online.flushall()

    try:
        world.write_lake(made_payments(START, now, 300, 5, "h"), "history", now)
        with pytest.raises(RedisError, match="emptied during the run"):
            world.materialize(now, empty)
        lost = rows_in(online)
        world.materialize(now)
        whole = rows_in(online)
        assert len(whole) > len(lost) > 0, "the run has written a part after the loss"
        online.flushall()
        world.materialize(now)
        assert rows_in(online) == whole
    finally:
        world.stop()
