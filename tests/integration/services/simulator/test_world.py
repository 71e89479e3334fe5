"""The world on a real Redis: history, the killed live process, a Redis that dies, any gateway."""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal
import sys
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from aiohttp import web
from redis import Redis
from typer.testing import CliRunner

from dojo.cli.world.data import app
from dojo.core.events.log import PAYLOAD_FIELD, stream_key
from dojo.core.events.streams import decode
from dojo.core.events.types import Event, Outcome, Stream
from dojo.core.lake import Lake
from dojo.core.settings import Settings, load_settings
from dojo.core.spec.read import SpecError
from dojo.core.state.clock import RedisWorldClock
from dojo.core.state.inbox import Inbox
from dojo.core.tasks.specs import load_spec
from dojo.shop.datasets import TRANSACTION_SCHEMA
from dojo.shop.events import TRANSACTIONS, Transaction
from dojo.shop.world_drift import DRIFT_KEY
from services.simulator.days import start_of
from services.simulator.gateway_client import GatewayClient
from services.simulator.opening import OpenWorld, open_world, question_of
from services.simulator.sources.importing import import_transactions
from services.simulator.world import CURSOR_KEY, OtherWorldError
from tests.support.servers import RedisServer, Server, free_port, wait_until

pytestmark = pytest.mark.integration

# In so small a town, 45 days of history take a second. It has about 600 payments a day.
TOWN = {"synthetic_customers": 300, "synthetic_merchants": 100, "history_days": 45, "seed": 11}
DAY = timedelta(days=1)


def town(home: Path, redis: RedisServer, **others: object) -> Settings:
    return load_settings(home=home, redis_url=redis.url, **(TOWN | others))


def environment(settings: Settings) -> dict[str, str]:
    return {
        f"DOJO_{name.upper()}": str(value)
        for name, value in settings.model_dump(exclude_none=True, exclude_unset=True).items()
    }


def events(server: RedisServer, stream: str) -> list[Event]:
    rows = Redis.from_url(server.url).xrange(stream_key(stream))
    return [decode(stream, fields[PAYLOAD_FIELD]) for _, fields in rows]


def lake_hashes(settings: Settings) -> dict[str, str]:
    root = settings.lake_dir
    return {
        str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(root.rglob("*.parquet"))
    }


@pytest.fixture
def simulator(
    tmp_path: Path, redis_server: RedisServer
) -> Iterator[Callable[..., tuple[Server, Settings]]]:
    """Return a function that makes simulator processes. No server listens on the gateway's port."""
    servers = []

    def make(**others: object) -> tuple[Server, Settings]:
        ports = {"simulator_port": free_port(), "gateway_port": free_port()}
        settings = town(tmp_path / "home", redis_server, **(ports | others))
        server = Server(
            "simulator",
            [sys.executable, "-m", "services.simulator"],
            tmp_path,
            environment(settings),
        )
        servers.append(server)
        return server, settings

    yield make
    for server in servers:
        server.stop()


def health(settings: Settings) -> dict[str, object]:
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{settings.simulator_port}/healthz", timeout=2
        ) as answer:
            return json.load(answer)  # type: ignore[no-any-return]
    except OSError:
        return {"state": "down"}


def metric(settings: Settings, name: str, **labels: str) -> float:
    with urllib.request.urlopen(
        f"http://127.0.0.1:{settings.simulator_port}/metrics", timeout=2
    ) as answer:
        lines = answer.read().decode().splitlines()
    labelled = ",".join(f'{label}="{value}"' for label, value in labels.items())
    start = f"{name}{{{labelled}}} " if labels else f"{name} "
    return float(next(line for line in lines if line.startswith(start)).split()[1])


def emitted_until(server: RedisServer) -> datetime:
    stored = Redis.from_url(server.url).get(CURSOR_KEY)
    return datetime.fromisoformat(json.loads(stored)["until"])  # type: ignore[arg-type]


def expected(world: OpenWorld, start: datetime, end: datetime) -> tuple[list[str], list[str]]:
    """Return ids of the source's transactions and outcomes of start <= time < end, in order."""
    transactions, outcomes = [], []
    day = start.date()
    while start_of(day) < end:
        made, known = world.days.events(TRANSACTIONS, day), world.days.outcomes(day)
        transactions += made.filter(pl.col("time").is_between(start, end, closed="left"))[
            "transaction_id"
        ].to_list()
        outcomes += known.filter(pl.col("arrival").is_between(start, end, closed="left"))[
            "request_id"
        ].to_list()
        day += DAY
    return transactions, outcomes


def first_seen(ids: list[str]) -> list[str]:
    return list(dict.fromkeys(ids))


# History


def test_history_fills_the_lake_and_stops_the_clock_at_its_end(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    settings = town(tmp_path, redis_server)
    world = open_world(settings)
    built = world.ensure().built
    end = start_of(world.world.history_end)
    lake = Lake(settings.lake_dir)
    made = lake.scan(TRANSACTIONS).collect()
    known = lake.scan(Stream.OUTCOMES).collect()
    assert built is not None
    assert built.events[TRANSACTIONS] == made.height == made["event_id"].n_unique()
    assert made["world_time"].dt.date().n_unique() == 45
    assert made["world_time"].max() < end  # type: ignore[operator]
    # The arrived labels exactly: all old ones, and some of the last week.
    assert known["world_time"].max() < end  # type: ignore[operator]
    assert known["event_id"].is_unique().all()
    settled = made.filter(pl.col("world_time") < end - 7 * DAY)["transaction_id"]
    assert settled.is_in(known["request_id"].implode()).all()
    assert (
        0.3
        < known.filter(pl.col("request_time") >= end - 7 * DAY).height
        / (made.height - settled.len())
        < 0.9
    )
    clock = RedisWorldClock(Redis.from_url(redis_server.url))
    assert clock.now() == end
    assert clock.speed() == 0
    # The streamer finds the last day on the stream, under the lake's ids.
    last_day = made.filter(pl.col("world_time") >= end - DAY).sort("world_time", "transaction_id")
    assert [e.event_id for e in events(redis_server, TRANSACTIONS)] == last_day[
        "event_id"
    ].to_list()


def test_building_again_changes_nothing(tmp_path: Path, redis_server: RedisServer) -> None:
    settings = town(tmp_path, redis_server)
    open_world(settings).ensure()
    before = lake_hashes(settings)
    assert open_world(settings).ensure().built is None
    Redis.from_url(redis_server.url).flushall()
    assert open_world(settings).ensure().built is not None
    assert lake_hashes(settings) == before


def test_a_build_that_was_stopped_is_finished_by_the_next(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    class StoppedError(Exception): ...

    def stop_halfway(step: str, share: float) -> None:
        if share > 0.5:
            raise StoppedError

    settings = town(tmp_path / "stopped", redis_server)
    with pytest.raises(StoppedError):
        open_world(settings).ensure(stop_halfway)
    assert lake_hashes(settings), "some days are there"
    assert not RedisWorldClock(Redis.from_url(redis_server.url)).is_set(), (
        "a world without its whole past has no time"
    )
    open_world(settings).ensure()
    finished = lake_hashes(settings)
    Redis.from_url(redis_server.url).flushall()
    whole = town(tmp_path / "whole", redis_server)
    open_world(whole).ensure()
    assert finished == lake_hashes(whole)


def test_a_lake_that_was_lost_is_written_again_without_moving_the_clock(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    settings = town(tmp_path, redis_server)
    open_world(settings).ensure()
    before = lake_hashes(settings)
    clock = RedisWorldClock(Redis.from_url(redis_server.url))
    later = clock.now() + DAY
    clock.set(later, speed=0)
    for file in settings.lake_dir.rglob("*.parquet"):
        file.unlink()
    ready = open_world(settings).ensure()
    assert "the lake had lost its history" in ready.notes[0]
    assert lake_hashes(settings) == before
    assert clock.now() == later


def test_when_redis_lost_the_world_it_goes_on_where_the_records_end(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    settings = town(tmp_path, redis_server)
    world = open_world(settings)
    world.ensure()
    end = start_of(world.world.history_end)
    lived = lake_frames(world, end, end + timedelta(hours=30))
    for stream, frame in lived.items():
        world.lake.write(stream, frame, "part-1")
    Redis.from_url(redis_server.url).flushall()
    ready = open_world(settings).ensure()
    recorded = min(frame["world_time"].max() for frame in lived.values())  # type: ignore[type-var]
    assert ready.position == recorded
    assert "Redis had lost the world" in ready.notes[0]
    assert "Redis had lost the clock: it runs on" in ready.notes[1]
    clock = RedisWorldClock(Redis.from_url(redis_server.url))
    assert recorded <= clock.anchor().world < recorded + timedelta(minutes=1)
    assert clock.speed() == settings.speed
    stream = events(redis_server, TRANSACTIONS)
    assert recorded - DAY <= stream[0].world_time <= stream[-1].world_time < recorded


def lake_frames(world: OpenWorld, start: datetime, end: datetime) -> dict[str, pl.DataFrame]:
    """Return what the recorder would have written of start <= time < end."""
    from services.simulator.events import event_history, outcome_history

    days = [start.date() + DAY * n for n in range((end - start).days + 2)]
    within = pl.col("world_time").is_between(start, end, closed="left")
    made = pl.concat(
        [event_history(TRANSACTIONS, world.days.events(TRANSACTIONS, d)) for d in days]
    )
    known = pl.concat([outcome_history(world.days.outcomes(d)) for d in days])
    return {TRANSACTIONS: made.filter(within), Stream.OUTCOMES: known.filter(within)}


def test_another_worlds_home_or_redis_is_refused(tmp_path: Path, redis_server: RedisServer) -> None:
    open_world(town(tmp_path / "one", redis_server)).ensure()
    with pytest.raises(OtherWorldError, match="seed is 11, wanted 12"):
        open_world(town(tmp_path / "one", redis_server, seed=12))
    with pytest.raises(OtherWorldError, match=r"history is .*, wanted"):
        open_world(town(tmp_path / "one", redis_server), history_days=60)
    assert (
        open_world(town(tmp_path / "one", redis_server, history_days=60)).world.span.days[0]
        is not None
    )
    with pytest.raises(OtherWorldError, match="this Redis carries another world"):
        open_world(town(tmp_path / "two", redis_server, seed=12)).ensure()
    (tmp_path / "one" / "world.json").unlink()
    with pytest.raises(OtherWorldError, match="of unknown origin"):
        open_world(town(tmp_path / "one", redis_server))


def test_the_command_builds_history_once(tmp_path: Path, redis_server: RedisServer) -> None:
    env = environment(town(tmp_path, redis_server))
    built = CliRunner().invoke(app, ["history", "--days", "50", "--json"], env=env)
    assert built.exit_code == 0, built.output
    assert json.loads(built.stdout)["built"] is True
    again = CliRunner().invoke(app, ["history"], env=env)
    assert "is already there" in again.stdout
    other = CliRunner().invoke(app, ["history", "--days", "60"], env=env)
    assert other.exit_code == 1
    assert "belongs to another world" in other.stderr
    gone = CliRunner().invoke(
        app, ["history"], env=env | {"DOJO_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"}
    )
    assert gone.exit_code == 1
    assert "dojo up" in gone.stderr


# The live process


def test_killing_the_process_again_and_again_loses_and_invents_nothing(
    redis_server: RedisServer, simulator: Callable[..., tuple[Server, Settings]]
) -> None:
    server, settings = simulator()
    clock = RedisWorldClock(Redis.from_url(redis_server.url), refresh=timedelta(0))
    server.start()
    wait_until(clock.is_set, 60, f"history is built; the log ends:\n{server.tail()}")
    start = clock.now()
    clock.set_speed(20_000)  # 140 payments a second

    for _ in range(4):
        before = emitted_until(redis_server)
        wait_until(
            lambda before=before: emitted_until(redis_server) > before + timedelta(hours=3),
            60,
            f"live; the log ends:\n{server.tail()}",
        )  # type: ignore[misc]
        server.kill()
        server.start()
    paused = clock.set_speed(0).world
    wait_until(
        lambda: emitted_until(redis_server) >= paused,
        60,
        f"it has caught up; the log ends:\n{server.tail()}",
    )
    assert server.stop() == 0
    end = emitted_until(redis_server)  # after `paused`, plus the time to notice the pause

    world = open_world(settings)
    transactions, outcomes = expected(world, start, end)
    assert len(transactions) > 200
    made = [e for e in events(redis_server, TRANSACTIONS) if e.world_time >= start]
    known = events(redis_server, Stream.OUTCOMES)
    # Repeats with the same id are allowed, gaps and unknown ids are not. All events come in order.
    assert first_seen([e.event_id for e in made]) == [Transaction.id_for(t) for t in transactions]
    assert first_seen([e.event_id for e in known]) == [
        Outcome.id_for("fraud_detection", t) for t in outcomes
    ]
    source_rows = pl.concat(
        [
            world.days.events(TRANSACTIONS, start.date() + DAY * n)
            for n in range((end - start).days + 1)
        ]
    )
    wanted = {
        row[0]: row[1:]
        for row in source_rows.select(
            "transaction_id", "customer_id", "merchant_id", "time", "amount"
        ).iter_rows()
    }
    for event in made:
        assert isinstance(event, Transaction)
        assert (event.customer_id, event.merchant_id, event.world_time, event.amount) == wanted[
            event.transaction_id
        ]


def test_it_waits_out_a_redis_that_dies_and_ends_cleanly_while_waiting(
    redis_server: RedisServer, simulator: Callable[..., tuple[Server, Settings]]
) -> None:
    server, settings = simulator()
    clock = RedisWorldClock(Redis.from_url(redis_server.url), refresh=timedelta(0))
    server.start()
    wait_until(clock.is_set, 60, f"history is built; the log ends:\n{server.tail()}")
    start = clock.now()
    clock.set_speed(20_000)
    wait_until(
        lambda: metric(settings, "dojo_world_events_total", stream=TRANSACTIONS) > 50, 30, "live"
    )
    redis_server.kill()
    wait_until(
        lambda: health(settings)["state"] == "waiting for Redis", 30, "it says that it waits"
    )
    redis_server.start()
    wait_until(lambda: health(settings)["state"] in ("live", "catching up"), 30, "it goes on")
    clock.set_speed(0)
    wait_until(lambda: health(settings)["state"] == "paused", 60, "it has caught up")
    end = emitted_until(redis_server)
    transactions, outcomes = expected(open_world(settings), start, end)
    made = [e.event_id for e in events(redis_server, TRANSACTIONS) if e.world_time >= start]
    assert first_seen(made) == [Transaction.id_for(t) for t in transactions]
    assert first_seen([e.event_id for e in events(redis_server, Stream.OUTCOMES)]) == [
        Outcome.id_for("fraud_detection", t) for t in outcomes
    ]
    # No server listens on the gateway's port. The failure counts per payment and delays none.
    assert metric(settings, 'dojo_world_gateway_answers_total{outcome="unreachable"}') == len(
        transactions
    )

    clock.set_speed(20_000)
    wait_until(lambda: health(settings)["state"] == "live", 30, "it saw that the world runs")
    redis_server.kill()
    wait_until(lambda: health(settings)["state"] == "waiting for Redis", 30, "it waits again")
    assert server.stop(within=10) == 0


def test_a_running_world_whose_redis_is_emptied_tells_again_what_was_lost_and_runs_on(
    redis_server: RedisServer, simulator: Callable[..., tuple[Server, Settings]]
) -> None:
    """Without a recorder everything since history's end is lost, and told again."""
    server, settings = simulator()
    redis = Redis.from_url(redis_server.url)
    clock = RedisWorldClock(redis, refresh=timedelta(0))
    server.start()
    wait_until(clock.is_set, 60, f"history is built; the log ends:\n{server.tail()}")
    start = clock.now()
    clock.set_speed(20_000)
    wait_until(lambda: emitted_until(redis_server) > start + DAY / 2, 60, "live")
    before = clock.now()
    redis.flushall()
    wait_until(clock.is_set, 60, f"the clock is back; the log ends:\n{server.tail()}")
    assert clock.speed() == 20_000
    assert clock.now() > before
    wait_until(
        lambda: bool(redis.exists(CURSOR_KEY)) and emitted_until(redis_server) > before,
        60,
        "it has caught up",
    )
    clock.set_speed(0)
    wait_until(lambda: health(settings)["state"] == "paused", 60, "it stands still")
    transactions, _ = expected(open_world(settings), start, emitted_until(redis_server))
    made = [e.event_id for e in events(redis_server, TRANSACTIONS) if e.world_time >= start]
    assert set(made) == {Transaction.id_for(t) for t in transactions}


def test_the_cursor_waits_for_every_append(
    redis_server: RedisServer, simulator: Callable[..., tuple[Server, Settings]]
) -> None:
    """A stream refuses writes while everything else works. Only then could a cursor run ahead."""
    server, settings = simulator()
    redis = Redis.from_url(redis_server.url)
    clock = RedisWorldClock(redis, refresh=timedelta(0))
    server.start()
    wait_until(clock.is_set, 60, f"history is built; the log ends:\n{server.tail()}")
    start = clock.now()
    redis.set(stream_key(Stream.OUTCOMES), "not a stream")
    clock.set_speed(20_000)
    wait_until(
        lambda: metric(settings, "dojo_world_append_failures_total") >= 2, 30, "appends fail"
    )
    server.kill()
    redis.delete(stream_key(Stream.OUTCOMES))
    server.start()
    wait_until(lambda: emitted_until(redis_server) > start + DAY / 2, 60, "live again")
    clock.set_speed(0)
    wait_until(lambda: health(settings)["state"] == "paused", 60, "it has caught up")
    _, outcomes = expected(open_world(settings), start, emitted_until(redis_server))
    assert first_seen([e.event_id for e in events(redis_server, Stream.OUTCOMES)]) == [
        Outcome.id_for("fraud_detection", t) for t in outcomes
    ]


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
def test_the_world_stops_with_its_simulator_and_goes_on_where_it_stopped(
    redis_server: RedisServer,
    simulator: Callable[..., tuple[Server, Settings]],
    end: signal.Signals,
) -> None:
    server, settings = simulator(world_runs_on_seconds=2)
    redis = Redis.from_url(redis_server.url)
    clock = RedisWorldClock(redis, refresh=timedelta(0))
    server.start()
    wait_until(clock.is_set, 60, f"history is built; the log ends:\n{server.tail()}")
    clock.set_speed(2_400)
    wait_until(
        lambda: metric(settings, "dojo_world_events_total", stream=TRANSACTIONS) > 50, 30, "live"
    )
    renewed = clock.anchor().wall
    wait_until(lambda: clock.anchor().wall > renewed, 10, "the simulator renews the clock")
    assert metric(settings, "dojo_world_standing_still") == 0
    server.signal(end)
    lived = emitted_until(redis_server)
    wait_until(lambda: clock.standstill() > timedelta(seconds=2), 20, "the clock is not renewed")
    stopped = clock.now()
    assert clock.now() == stopped
    assert stopped - lived < timedelta(seconds=(2 + 1) * 2_400), (
        "the bound, and the time between its last batch and its end"
    )
    if end is signal.SIGKILL:
        server.kill()
        server.start()
    else:
        server.signal(signal.SIGCONT)
    wait_until(
        lambda: len(Inbox(redis).newest(2)) > 0,
        60,
        f"people are told; the log ends:\n{server.tail()}",
    )
    told = Inbox(redis).newest(2)[0]
    assert told.title.startswith("the world stood still for ")
    assert told.world_time == stopped
    wait_until(lambda: emitted_until(redis_server) > stopped, 20, "it goes on")
    assert clock.standstill() == timedelta(0)
    assert health(settings)["clock"] == told.title


def test_a_world_that_waits_stands_still_instead_of_running_away(
    redis_server: RedisServer, simulator: Callable[..., tuple[Server, Settings]]
) -> None:
    """A drift table that cannot be read: the simulator lives, and may not live on."""
    server, settings = simulator(world_runs_on_seconds=2)
    redis = Redis.from_url(redis_server.url)
    clock = RedisWorldClock(redis, refresh=timedelta(0))
    server.start()
    wait_until(clock.is_set, 60, f"history is built; the log ends:\n{server.tail()}")
    clock.set_speed(2_400)
    wait_until(
        lambda: metric(settings, "dojo_world_events_total", stream=TRANSACTIONS) > 50, 30, "live"
    )
    redis.set(DRIFT_KEY, "no table")
    wait_until(lambda: clock.standstill() > timedelta(seconds=2), 20, "the clock is not renewed")
    assert metric(settings, "dojo_world_standing_still") == 1
    stopped = clock.now()
    redis.delete(DRIFT_KEY)
    wait_until(lambda: emitted_until(redis_server) > stopped, 20, "it goes on")
    assert metric(settings, "dojo_world_standing_still") == 0
    assert Inbox(redis).newest(1)[0].world_time == stopped


def test_another_seed_stops_the_process_with_the_reason(
    tmp_path: Path, redis_server: RedisServer, simulator: Callable[..., tuple[Server, Settings]]
) -> None:
    open_world(town(tmp_path / "home", redis_server)).ensure()
    server, _ = simulator(seed=12)
    server.start()
    assert server.process is not None
    assert server.process.wait(60) == 2
    assert "seed is 11, wanted 12" in server.tail()


def test_a_replayed_file_comes_to_its_end_and_its_labels_still_arrive(
    tmp_path: Path, redis_server: RedisServer, simulator: Callable[..., tuple[Server, Settings]]
) -> None:
    rows = 320  # eight days; the last is played live
    first = datetime(2021, 3, 1, tzinfo=UTC)
    pl.DataFrame(
        {
            "transaction_id": [str(n) for n in range(rows)],
            "customer_id": "c",
            "merchant_id": "m",
            "time": [first + 8 * DAY * n / rows for n in range(rows)],
            "amount": 1.0,
            "label": 0,
        },
        schema=TRANSACTION_SCHEMA,
    ).write_parquet(tmp_path / "raw.parquet")
    imported = import_transactions(
        tmp_path / "raw.parquet", tmp_path / "imports", {}, lambda step, share: None
    )
    server, settings = simulator(world_source="replay", replay_dataset=Path(imported.path))
    clock = RedisWorldClock(Redis.from_url(redis_server.url), refresh=timedelta(0))
    server.start()
    wait_until(clock.is_set, 60, f"history is built; the log ends:\n{server.tail()}")
    assert clock.now() == first + 7 * DAY
    recorded = Lake(settings.lake_dir).scan(Stream.OUTCOMES).collect().height
    clock.set_speed(8 * 86_400)
    wait_until(
        lambda: health(settings).get("replay_exhausted") is True, 30, "the file has come to its end"
    )
    wait_until(
        lambda: len(events(redis_server, Stream.OUTCOMES)) == rows - recorded,
        30,
        "the last labels have arrived",
    )
    assert health(settings)["state"] == "replay exhausted"
    assert metric(settings, "dojo_world_replay_exhausted") == 1
    assert metric(settings, "dojo_world_events_total", stream=TRANSACTIONS) == rows / 8
    assert [e.transaction_id for e in events(redis_server, TRANSACTIONS)] == [
        str(n) for n in range(240, rows)
    ]  # type: ignore[attr-defined]


# The gateway


PAYMENTS = pl.DataFrame(
    {
        "transaction_id": ["good", "cold", "wrong", "broken", "odd", "late"],
        "customer_id": "c",
        "merchant_id": "m",
        "time": datetime(2024, 1, 1, 12, 30, tzinfo=UTC),
        "amount": 12.5,
    }
)


QUESTION = question_of(load_spec(Path("models/fraud_detection.yaml")))


@asynccontextmanager
async def gateway(predict: Callable[[web.Request], Awaitable[web.Response]]) -> AsyncIterator[int]:
    """Start a gateway that answers as `predict` does. Return its port."""
    server = web.Application()
    server.router.add_post("/v1/models/{model}:predict", predict)
    runner = web.AppRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield port
    finally:
        await runner.cleanup()


def test_every_model_is_asked_about_every_payment() -> None:
    asked: list[tuple[str, str]] = []

    questions = {
        "fraud_detection": QUESTION,
        "returns": {"request_id": "transaction_id", "customer_id": "customer_id"},
    }

    async def predict(request: web.Request) -> web.Response:
        (instance,) = (await request.json())["instances"]
        asked.append((request.match_info["model"], instance["request_id"]))
        assert set(instance) == set(questions[request.match_info["model"]])
        return web.json_response(
            {
                "predictions": [
                    {"prediction_id": "p", "version": "1", "arm": "champion", "degraded": None}
                ]
            }
        )

    async def scenario() -> list[str]:
        async with (
            gateway(predict) as port,
            GatewayClient(f"http://127.0.0.1:{port}", {TRANSACTIONS: questions}, "key") as client,
        ):
            return [reply.ended for reply in await client.ask_all({TRANSACTIONS: PAYMENTS})]

    assert asyncio.run(scenario()) == ["scored"] * 2 * PAYMENTS.height
    wanted = [
        (model, payment)
        for payment in PAYMENTS["transaction_id"]
        for model in ("fraud_detection", "returns")
    ]
    assert sorted(asked) == sorted(wanted)


def test_a_hanging_gateway_is_not_waited_for_again_and_again() -> None:
    hanging = True

    async def predict(request: web.Request) -> web.Response:
        if hanging:
            await asyncio.sleep(60)
        return web.json_response(
            {
                "predictions": [
                    {"prediction_id": "p", "version": "1", "arm": "champion", "degraded": None}
                ]
            }
        )

    async def scenario() -> None:
        nonlocal hanging
        async with (
            gateway(predict) as port,
            GatewayClient(
                f"http://127.0.0.1:{port}", {TRANSACTIONS: {"fraud_detection": QUESTION}}, "key"
            ) as client,
        ):
            assert {reply.ended for reply in await client.ask_all({TRANSACTIONS: PAYMENTS})} == {
                "timeout"
            }
            assert {reply.ended for reply in await client.ask_all({TRANSACTIONS: PAYMENTS})} == {
                "skipped"
            }
            hanging = False
            deadline = asyncio.get_running_loop().time() + 10
            while {reply.ended for reply in await client.ask_all({TRANSACTIONS: PAYMENTS})} != {
                "scored"
            }:
                assert asyncio.get_running_loop().time() < deadline, "it is asked again"
                await asyncio.sleep(0.05)

    asyncio.run(scenario())


def test_every_mood_of_the_gateway_is_told_apart_and_none_is_waited_for() -> None:
    answers = {
        "good": (
            {
                "predictions": [
                    {
                        "prediction_id": "p",
                        "version": "1",
                        "arm": "champion",
                        "score": 0.1,
                        "degraded": None,
                        "flagged": False,
                    }
                ]
            },
            200,
        ),
        "cold": (
            {
                "predictions": [
                    {
                        "prediction_id": "p",
                        "version": "1",
                        "arm": "champion",
                        "score": 0.1,
                        "degraded": ["cold_start"],
                        "flagged": False,
                    }
                ]
            },
            200,
        ),
        "wrong": ({"title": "no"}, 422),
        "broken": ({}, 500),
        "odd": ({"predictions": []}, 200),
    }
    seen: list[dict[str, object]] = []

    async def predict(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer key"
        (instance,) = (await request.json())["instances"]
        seen.append(instance)
        if instance["request_id"] == "late":
            await asyncio.sleep(60)
        body, status = answers[instance["request_id"]]
        return web.json_response(body, status=status)

    async def ask(port: int) -> list[str]:
        async with GatewayClient(
            f"http://127.0.0.1:{port}", {TRANSACTIONS: {"fraud_detection": QUESTION}}, "key"
        ) as client:
            return [reply.ended for reply in await client.ask_all({TRANSACTIONS: PAYMENTS})]

    async def scenario() -> tuple[list[str], list[str]]:
        async with gateway(predict) as port:
            listening = await ask(port)
        return listening, await ask(port)

    listening, gone = asyncio.run(scenario())
    assert listening == ["scored", "degraded", "refused", "failed", "malformed", "timeout"]
    assert gone == ["unreachable"] * PAYMENTS.height
    assert seen[0] == {
        "request_id": "good",
        "customer_id": "c",
        "merchant_id": "m",
        "amount": 12.5,
        "transaction_time": "2024-01-01T12:30:00Z",
    }


# A wrong spec


def test_a_world_goes_on_with_the_labels_of_a_model_whose_spec_turned_wrong(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    text = Path("models/fraud_detection.yaml").read_text()
    for name in ("early", "late"):
        spec = text.replace("name: fraud_detection", f"name: {name}", 1)
        (models / f"{name}.yaml").write_text(spec)
    wrong, right = models / "late.yaml", (models / "late.yaml").read_text()
    settings = town(tmp_path / "home", redis_server, models_dir=models)

    wrong.write_text(right.replace("task: binary", "task: prophecy"))
    with pytest.raises(SpecError, match=r"late\.yaml:\d+: task: [^$]*a new world does not begin"):
        open_world(settings)
    assert not (settings.home / "world.json").exists(), "a later start may begin it"

    wrong.write_text(right)
    began = open_world(settings)
    began.ensure()
    wrong.write_text(right.replace("task: binary", "task: prophecy"))
    goes_on = open_world(settings)
    assert goes_on.ensure().built is None
    assert goes_on.world.fingerprint() == began.world.fingerprint()
    assert list(goes_on.questions[TRANSACTIONS]) == ["early"], "late has no known question"
    day = began.world.history_end
    assert goes_on.days.outcomes(day).equals(began.days.outcomes(day))
    assert set(goes_on.days.outcomes(day)["model"]) == {"early", "late"}
