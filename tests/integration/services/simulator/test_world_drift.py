"""Caused drift on a real Redis: the table and its record, the commands, and the live process."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from redis import Redis
from typer.testing import CliRunner

from dojo.cli.world.clock import app
from dojo.core.events.log import RedisEventLog
from dojo.core.events.types import Event, Outcome, Stream
from dojo.core.state.audit import AuditTrail
from dojo.core.state.clock import RedisWorldClock
from dojo.shop.drift_kinds import KINDS
from dojo.shop.events import TRANSACTIONS, Transaction
from dojo.shop.world_drift import DRIFT_KEY, DriftError, DriftTable
from services.simulator.days import WorldDays, start_of
from services.simulator.feed import Feed
from services.simulator.gateway_client import GatewayClient
from services.simulator.live import BATCH_LIMIT, LiveState, LiveWorld
from services.simulator.opening import open_world
from tests.integration.services.simulator.test_world import (
    emitted_until,
    environment,
    events,
    expected,
    health,
    metric,
    town,
)
from tests.support.servers import RedisServer, Server, free_port, wait_until

pytestmark = pytest.mark.integration

MODEL = "fraud_detection"
NOW = datetime.fromisoformat("2025-01-06T12:00:00+00:00")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def table(redis_server: RedisServer) -> DriftTable:
    return DriftTable(Redis.from_url(redis_server.url))


def test_a_drift_is_active_until_it_is_stopped_and_can_come_again(table: DriftTable) -> None:
    assert table.all() == table.active() == ()
    table.start("unit_bug", NOW, strength=0.2, who="ann", why="a try")
    with pytest.raises(
        DriftError, match="unit_bug is active since 2025-01-06 12:00: stop it first"
    ):
        table.start("unit_bug", NOW + HOUR)
    table.start("concept", NOW + HOUR)
    assert [d.kind for d in table.active()] == ["unit_bug", "concept"]
    table.stop("unit_bug", NOW + 2 * HOUR)
    with pytest.raises(DriftError, match="unit_bug is not active; active: concept"):
        table.stop("unit_bug", NOW + 3 * HOUR)
    table.start("unit_bug", NOW + 4 * HOUR)
    assert [(d.kind, d.ended) for d in table.all()] == [
        ("unit_bug", NOW + 2 * HOUR),
        ("concept", None),
        ("unit_bug", None),
    ]


def test_every_start_and_stop_is_in_the_audit_trail(
    table: DriftTable, redis_server: RedisServer
) -> None:
    table.start("covariate_gradual", NOW, strength=0.5, ramp=5 * DAY, who="ann", why="inflation")
    table.stop("covariate_gradual", NOW + DAY, who="bob", why="enough")
    with pytest.raises(DriftError):
        table.stop("covariate_gradual", NOW + DAY)
    trail = AuditTrail(Redis.from_url(redis_server.url))
    first, second = trail.entries()
    assert (first.kind, first.who, first.why, first.before) == ("world", "ann", "inflation", None)
    assert (
        first.what
        == "drift covariate_gradual started, strength 0.5 of the amounts, as growth, growing"
        " over 5d"
    )
    assert (second.who, second.what, second.world_time) == (
        "bob",
        "drift covariate_gradual stopped",
        NOW + DAY,
    )
    assert trail.verify().faults == ()


def test_nobodys_change_is_lost_between_commands_and_the_simulator(
    table: DriftTable, redis_server: RedisServer
) -> None:
    """Nine people repeatedly start and stop one kind each.

    Meanwhile the simulator settles the table.
    """
    done = threading.Event()

    def settle() -> None:
        mine = DriftTable(Redis.from_url(redis_server.url))
        while not done.is_set():
            mine.settle(NOW)

    def toggle(kind: str) -> None:
        mine = DriftTable(Redis.from_url(redis_server.url))
        for n in range(5):
            mine.start(kind, NOW + n * HOUR)
            mine.stop(kind, NOW + n * HOUR + HOUR / 2)

    simulator = threading.Thread(target=settle)
    people = [threading.Thread(target=toggle, args=(kind,)) for kind in KINDS]
    for thread in [simulator, *people]:
        thread.start()
    for thread in people:
        thread.join(60)
    done.set()
    simulator.join(60)
    final = table.settle(NOW)
    assert len(final) == 5 * len(KINDS)
    for kind in KINDS:
        of_kind = [(d.started, d.ended) for d in final if d.kind == kind]
        assert of_kind == [(NOW + n * HOUR, NOW + n * HOUR + HOUR / 2) for n in range(5)]
    assert table.all() == final


def test_a_table_that_makes_no_sense_is_refused(
    table: DriftTable, redis_server: RedisServer
) -> None:
    Redis.from_url(redis_server.url).set(DRIFT_KEY, b'[{"kind": "earthquake"}]')
    for look in (table.active, lambda: table.settle(NOW), lambda: table.start("unit_bug", NOW)):
        with pytest.raises(DriftError, match="cannot be understood"):
            look()


def test_the_commands_cause_show_and_end_drift(tmp_path: Path, redis_server: RedisServer) -> None:
    env = environment(town(tmp_path, redis_server))
    clock = RedisWorldClock(Redis.from_url(redis_server.url))

    def dojo(*words: str, **more: str) -> tuple[int, str, str]:
        why = [] if "--why" in words or "list" in words else ["--why", "a test"]
        answer = CliRunner().invoke(app, ["drift", *words, *why], env=env | more)
        return answer.exit_code, answer.stdout, answer.stderr

    assert dojo("start", "unit_bug")[0] == 1, "a world without time has no now to start at"
    clock.set(NOW, 0)
    assert "No drift" in dojo("list")[1]
    code, stdout, _ = dojo(
        "start",
        "covariate_gradual",
        "--ramp",
        "2d",
        "--strength",
        "0.4",
        "--why",
        "a season",
        "--json",
    )
    started = json.loads(stdout)
    assert code == 0
    assert (started["kind"], started["strength"], started["intensity"], started["why"]) == (
        "covariate_gradual",
        0.4,
        0.0,
        "a season",
    )
    assert started["who"]
    assert dojo("start", "unit_bug", "--ramp", "0")[0] == 0
    clock.set(NOW + DAY, 0)
    rows = json.loads(dojo("list", "--json")[1])
    assert [(row["kind"], row["intensity"]) for row in rows] == [
        ("covariate_gradual", 0.5),
        ("unit_bug", 1.0),
    ]
    assert "50%" in dojo("list")[1]
    assert dojo("stop")[0] == dojo("stop", "unit_bug", "--all")[0] == 2
    ended = json.loads(dojo("stop", "--all", "--json")[1])
    assert {row["kind"] for row in ended} == {"covariate_gradual", "unit_bug"}
    assert "over" in dojo("list")[1]
    for words, code, complaint in (
        (("start", "earthquake"), 1, "is no kind of drift; those are"),
        (("start", "unit_bug", "--strength", "2"), 1, "wanted 0.01 to 1 of the merchants"),
        (("start", "unit_bug", "--ramp", "soon"), 2, "expected a duration with its unit"),
        (("stop", "unit_bug"), 1, "is not active"),
    ):
        answer = dojo(*words)
        assert answer[0] == code
        assert complaint in answer[2]
    replay = {
        "DOJO_WORLD_SOURCE": "replay",
        "DOJO_REPLAY_DATASET": str(tmp_path / "payments.parquet"),
    }
    refused = dojo("start", "concept", **replay)
    assert refused[0] == 1
    assert "this world repeats recorded payments" in refused[2]
    assert dojo("start", "unit_bug", **replay)[0] == 0


def test_the_live_world_takes_drift_up_at_once_and_repeats_it_after_a_kill(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    ports = {"simulator_port": free_port(), "gateway_port": free_port()}
    settings = town(tmp_path / "home", redis_server, **ports)
    redis = Redis.from_url(redis_server.url)
    table, clock = DriftTable(redis), RedisWorldClock(redis, refresh=timedelta(0))
    server = Server(
        "simulator", [sys.executable, "-m", "services.simulator"], tmp_path, environment(settings)
    )

    def passes(span: timedelta) -> None:
        before = emitted_until(redis_server)
        wait_until(
            lambda: emitted_until(redis_server) > before + span,
            60,
            f"live; the log ends:\n{server.tail()}",
        )

    server.start()
    try:
        wait_until(clock.is_set, 60, f"history is built; the log ends:\n{server.tail()}")
        start = clock.now()
        wait_until(lambda: health(settings)["state"] == "paused", 60, "it lives")
        assert {
            metric(settings, f'dojo_world_drift_intensity{{cause="{kind}"}}') for kind in KINDS
        } == {0.0}
        clock.set_speed(20_000)
        passes(11 * HOUR)  # nights are quiet
        for kind in ("unit_bug", "concept", "label_delay", "null_burst"):
            table.start(kind, clock.now(), ramp=timedelta(0))
        wait_until(
            lambda: all(d.started_settled for d in table.all()), 10, "the next batch has taken them"
        )
        wait_until(
            lambda: metric(settings, 'dojo_world_drift_intensity{cause="unit_bug"}') == 1,
            10,
            "and the metric says so",
        )
        full = {"unit_bug": 1.0, "concept": 1.0, "label_delay": 1.0, "null_burst": 1.0}
        # A batch before the others' batch may have taken the first.
        wait_until(lambda: health(settings)["drift_intensity"] == full, 10, "and so does /healthz")
        passes(5 * HOUR)
        server.kill()
        table.start("prediction", clock.now())
        table.stop("unit_bug", clock.now())
        server.start()
        passes(12 * HOUR)
        server.kill()
        server.start()
        table.stop("label_delay", clock.now())
        paused = clock.set_speed(0).world
        wait_until(
            lambda: emitted_until(redis_server) >= paused,
            60,
            f"it has caught up; the log ends:\n{server.tail()}",
        )
        assert server.stop() == 0
    finally:
        server.stop()
    end = emitted_until(redis_server)

    drifts = table.settle(end)
    seen_until = {d.kind: (d.started, d.ended or end) for d in drifts}
    assert all(start < began < end for began, _ in seen_until.values())
    world = open_world(settings)
    world.days.drift(drifts)
    transactions, outcomes = expected(world, start, end)
    made = [e for e in events(redis_server, TRANSACTIONS) if e.world_time >= start]
    known = events(redis_server, Stream.OUTCOMES)
    assert list(dict.fromkeys(e.event_id for e in made)) == [
        Transaction.id_for(i) for i in transactions
    ]
    assert list(dict.fromkeys(e.event_id for e in known)) == [
        Outcome.id_for(MODEL, i) for i in outcomes
    ]
    rows = pl.concat(
        [
            world.days.events(TRANSACTIONS, start.date() + DAY * n)
            for n in range((end - start).days + 1)
        ]
    )
    wanted = {
        row[0]: row[1:]
        for row in rows.select(
            "transaction_id", "customer_id", "merchant_id", "time", "amount"
        ).iter_rows()
    }
    assert {e.transaction_id: fields(e) for e in made} == {i: wanted[i] for i in transactions}
    assert len({(e.event_id, *fields(e)) for e in made}) == len(transactions), (
        "what was repeated is the same"
    )
    quiet = WorldDays(
        world.source,
        {MODEL: world.specs.specs[MODEL].label},
        settings.seed,
        world.world.history_start,
    )
    first = min(began for began, _ in seen_until.values())
    day = quiet.events(TRANSACTIONS, start_of(start.date()).date()).filter(pl.col("time") < first)
    assert day.height > 10
    assert {i: wanted[i] for i in day["transaction_id"]} == {
        row[0]: row[1:]
        for row in day.select(
            "transaction_id", "customer_id", "merchant_id", "time", "amount"
        ).iter_rows()
    }
    assert any(e.customer_id.startswith("G") for e in made), "guests have paid"


class DiedError(RuntimeError):
    """The process dies here."""


class DyingLog(RedisEventLog):
    """Takes a batch. Then the process dies before it moves the cursor."""

    def append(self, events: Iterable[Event]) -> None:
        super().append(events)
        raise DiedError


def test_a_batch_that_was_cut_off_by_a_crash_is_repeated_as_it_was(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    """Drift starts while the process is dead, at a time within the promised batch.

    So it waits for the end of that batch.
    """
    settings = town(tmp_path, redis_server, gateway_port=free_port())
    world = open_world(settings)
    begun = world.ensure().position
    redis = Redis.from_url(redis_server.url)
    end = begun + DAY
    RedisWorldClock(redis).set(end, 0)

    async def live(event_log: RedisEventLog) -> None:
        stop = threading.Event()
        async with GatewayClient(settings.gateway_url, world.questions, "key") as gateway:
            one = LiveWorld(
                Feed(world.days),
                None,
                world.clock,
                world.keeper,
                event_log,
                world.cursor,
                world.drifts,
                gateway,
                world.decisions,
                world.shown,
                world.nights,
                LiveState(),
            )
            running = asyncio.create_task(one.run(world.cursor.load() or begun, stop))
            while not running.done() and emitted_until(redis_server) < end:
                await asyncio.sleep(0.01)
            stop.set()
            await running

    with pytest.raises(DiedError):
        asyncio.run(live(DyingLog(redis, settings.stream_max_length)))
    cut_off = [e for e in events(redis_server, TRANSACTIONS) if e.world_time >= begun]
    assert len(cut_off) == BATCH_LIMIT
    assert emitted_until(redis_server) == begun
    world.drifts.start("unit_bug", cut_off[3].world_time, strength=1.0)
    world.drifts.start("concept", cut_off[5].world_time)
    asyncio.run(live(world.event_log))
    made = [e for e in events(redis_server, TRANSACTIONS) if e.world_time >= begun]
    assert [fields(e) for e in made[: len(cut_off)]] == [fields(e) for e in cut_off]
    assert [fields(e) for e in made[len(cut_off) : 2 * len(cut_off)]] == [
        fields(e) for e in cut_off
    ], "repeated, and the same"
    assert {d.started for d in world.drifts.all()} == {made[2 * len(cut_off)].world_time}, (
        "from the next payment on"
    )
    assert min(e.amount for e in made[2 * len(cut_off) :]) >= 1, "a cent is a euro"
    assert len({e.event_id for e in made}) == len(made) - len(cut_off)


def fields(event: Event) -> tuple[object, ...]:
    assert isinstance(event, Transaction)
    return event.customer_id, event.merchant_id, event.world_time, event.amount
