"""Several workers as one gateway: counts, gauges, health, folders and limits."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from dojo.core.settings import Settings
from dojo.core.specs_in_use import SpecsInUse
from dojo.core.tasks.specs import LoadedSpecs, load_specs
from services.gateway.children import Backoff
from services.gateway.histograms import DeferredHistogram
from services.gateway.logging.spool import Spool
from services.gateway.metrics import GatewayMetrics
from services.gateway.state import NOT_READY, READY
from services.gateway.workers import whole
from services.gateway.workers.folders import folder, prepare
from services.gateway.workers.link import Family, StateReport, families_of
from services.gateway.workers.whole import GAUGES, SILENT, STARTING, Merged, WorkerState
from services.gateway.workers.worker import part_of

MODELS = Path("models")


def process_metrics(requests: int, seconds: tuple[float, ...], generation: int) -> list[Family]:
    """Return a worker's report of a counter, a histogram and two gauges."""
    registry = CollectorRegistry()
    counter = Counter("requests", "Requests.", ["model"], registry=registry).labels("m")
    counter.inc(requests)
    histogram = DeferredHistogram(
        "seconds", "Time.", ["model"], buckets=[0.1, 1], registry=registry
    )
    for value in seconds:
        histogram.labels("m").observe(value)
    for name in ("dojo_route_generation", "dojo_gateway_in_flight_requests"):
        Gauge(name, "A gauge.", registry=registry).set(generation)
    return families_of(registry.collect())


def values(merged: Merged) -> dict[str, float]:
    """Return what a scrape reads, by name and bucket."""
    text = generate_latest(merged).decode()
    return {
        sample.name + sample.labels.get("le", ""): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_every_gauge_says_how_it_is_merged_and_no_rule_is_left_over() -> None:
    specs = load_specs(MODELS)
    registry = GatewayMetrics(specs).registry
    SpecsInUse(MODELS, LoadedSpecs(specs, {}), registry)
    gauges = {metric.name for metric in registry.collect() if metric.type == "gauge"}
    assert gauges == GAUGES.keys()


def test_counts_are_sums_and_gauges_follow_their_rules() -> None:
    found = values(Merged([process_metrics(3, (0.05, 2.0), 7), process_metrics(4, (0.05, 0.5), 5)]))
    assert found["requests_total"] == 7
    assert (found["seconds_bucket0.1"], found["seconds_bucket1.0"]) == (2, 3)
    assert (found["seconds_bucket+Inf"], found["seconds_count"]) == (4, 4)
    assert found["seconds_sum"] == pytest.approx(2.6)
    assert found["dojo_route_generation"] == 5, "the oldest"
    assert found["dojo_gateway_in_flight_requests"] == 12


def test_the_time_of_a_counters_creation_is_the_first() -> None:
    first, second = process_metrics(1, (), 0), process_metrics(1, (), 0)

    def created(families: list[Family]) -> float:
        return next(
            value for one in families for name, _, value in one.samples if name.endswith("_created")
        )

    assert created(Merged([second, first]).families()) == created(first) < created(second)


@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.integers(0, 9), st.booleans()), min_size=1, max_size=12
    )
)
def test_no_count_falls_however_workers_count_and_end(
    events: list[tuple[int, int, bool]],
) -> None:
    lives = [0, 0]
    ended: list[Family] = []
    shown = [0.0]
    for worker, more, ends in events:
        lives[worker] += more
        shown.append(
            values(Merged([*(process_metrics(one, (), 0) for one in lives), ended]))[
                "requests_total"
            ]
        )
        if ends:
            ended = Merged([ended, process_metrics(lives[worker], (), 1)]).counts()
            lives[worker] = 0
            gauges = {family.name for family in ended if family.type == "gauge"}
            assert not gauges, "a dead worker has no requests in flight"
    assert all(before <= after for before, after in pairwise(shown))
    assert shown[-1] == sum(more for _, more, _ in events)


def reporting(
    number: int, generation: int | None, ready: bool = True, problem: str = "", **details: Any
) -> WorkerState:
    route = None if generation is None else {"generation": generation}
    health = {
        "status": "ok",
        "models": {"m": {"version": str(generation), "route": route, "route_problem": None}},
        **details,
    }
    report = StateReport(1, not problem, ready, health, [])
    return WorkerState(number, problem, report)


def test_a_model_serves_the_oldest_route_of_all_workers() -> None:
    said = whole.health([reporting(1, 8), reporting(2, 7)])
    assert said["models"] == {
        "m": {"version": "7", "route": {"generation": 7}, "route_problem": None}
    }
    said = whole.health([reporting(1, 8), reporting(2, None)])
    assert said["models"]["m"]["route"] is None  # type: ignore[index]


def test_a_problem_of_one_worker_with_the_same_route_is_shown() -> None:
    other = reporting(2, 7)
    assert other.report is not None
    other.report.health["models"]["m"]["route_problem"] = "no bundle"  # type: ignore[index]
    said = whole.health([reporting(1, 7), other])
    assert said["models"]["m"]["route_problem"] == "no bundle"  # type: ignore[index]


def test_details_are_sums_or_the_words_of_the_worst() -> None:
    old = {"m": {"read": "a", "file": "b"}}
    said = whole.health(
        [
            reporting(1, 1, buffered_events=2, event_log="ok", world_clock="2018", specs=old),
            reporting(
                2,
                1,
                buffered_events=3,
                event_log="away",
                world_clock="not set yet",
                specs={"m": {"read": "b"}},
            ),
        ]
    )
    assert said["status"] == "ok"
    assert said["buffered_events"] == 5
    assert said["event_log"] == "away"
    assert said["world_clock"] == "not set yet"
    assert said["specs"] == old


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (reporting(2, 1), READY),
        (reporting(2, 1, ready=False), NOT_READY),
        (reporting(2, 1, problem=f"{SILENT} for 3 s"), f"{SILENT} for 3 s"),
        (WorkerState(2, STARTING, None), STARTING),
    ],
)
def test_the_gateway_is_ready_when_every_worker_is_and_names_the_others(
    other: WorkerState, said: str
) -> None:
    found = whole.readiness([reporting(1, 1), other])
    assert found["workers"] == {"1": READY, "2": said}
    assert found["status"] == (READY if said == READY else NOT_READY)


def spooled(directory: Path) -> list[bytes]:
    """Return the events of a spool, oldest first."""
    spool, found = Spool(directory, 1 << 20), []
    while (oldest := spool.oldest()) is not None:
        segment, events = oldest
        found += events
        spool.delete(segment)
    return found


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_every_event_that_more_workers_left_has_one_heir(tmp_path: Path, workers: int) -> None:
    for number in range(1, 6):
        spool = Spool(folder(tmp_path, number) / "spool", 1 << 20)
        spool.append([b"first %d" % number, b"second %d" % number])
    prepare(tmp_path, workers)
    found = [
        event
        for number in range(1, workers + 1)
        for event in spooled(folder(tmp_path, number) / "spool")
    ]
    assert sorted(found) == sorted(
        b"%b %d" % (name, number) for name in (b"first", b"second") for number in range(1, 6)
    )
    for number in range(1, 6):
        assert found.index(b"first %d" % number) < found.index(b"second %d" % number)
        assert folder(tmp_path, number).exists() == (number <= workers)


def test_heirs_share_what_is_left_so_that_each_has_room(tmp_path: Path) -> None:
    for number in range(1, 5):
        Spool(folder(tmp_path, number) / "spool", 1 << 20).append([b"of %d" % number])
    prepare(tmp_path, 2)
    assert spooled(folder(tmp_path, 1) / "spool") == [b"of 1", b"of 3"]
    assert spooled(folder(tmp_path, 2) / "spool") == [b"of 2", b"of 4"]


def test_a_new_worker_begins_with_the_firsts_versions_and_routes_but_not_with_its_spool(
    tmp_path: Path,
) -> None:
    for name in ("models/m/current.json", "routes/m.json", "clock.json", "spool/00000001.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    prepare(tmp_path, 2)
    second = folder(tmp_path, 2)
    assert {str(path.relative_to(second)) for path in second.rglob("*") if path.is_file()} == {
        "models/m/current.json",
        "routes/m.json",
        "clock.json",
    }
    (second / "clock.json").write_text("its own")
    prepare(tmp_path, 2)
    assert (second / "clock.json").read_text() == "its own"


@pytest.mark.parametrize(
    ("workers", "limit", "part"), [(1, 250, 250), (2, 250, 125), (4, 250, 63), (3, 1, 1)]
)
def test_a_worker_takes_its_part_of_the_limits(workers: int, limit: int, part: int) -> None:
    settings = Settings(gateway_workers=workers, max_in_flight=limit, spool_max_bytes=3_000_001)
    own = part_of(settings)
    assert own.max_in_flight == part
    assert workers * own.spool_max_bytes <= 3_000_001 < workers * (own.spool_max_bytes + 1)


def test_pauses_double_to_a_limit_and_begin_again_after_a_long_life() -> None:
    backoff = Backoff()
    assert [backoff.after(0.5) for _ in range(4)] == [0.1, 0.2, 0.4, 0.8]
    assert [backoff.after(0.5) for _ in range(20)][-1] == 10
    assert backoff.after(60) == 0.1
