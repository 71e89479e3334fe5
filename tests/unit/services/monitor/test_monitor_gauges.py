"""The gauges of verdicts for rules and dashboards."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from dojo.core.events.types import Verdict
from dojo.core.registry.reference_profile import Distribution, ShownItems
from dojo.core.severity import Severity
from dojo.core.tasks.item_bins import ITEM_EDGES
from dojo.core.tasks.records import Results
from dojo.core.tasks.specs import load_spec, task_of
from services.monitor.counting.state import MonitorMemory
from services.monitor.counting.windows import CountedWindow
from services.monitor.judging.traffic import with_traffic
from services.monitor.metrics import LEVELS, MonitorMetrics
from services.monitor.showing.gauges import Gauges
from tests.support.monitor_events import profile

SPEC = load_spec(Path("models/fraud_detection.yaml"))
EVENING = datetime(2030, 3, 1, 20, tzinfo=UTC)


def verdict(hour: int, severity: Severity, since: datetime | None, version: str = "1") -> Verdict:
    start = EVENING + timedelta(hours=hour)
    return Verdict(
        event_id=f"{version}-{hour}",
        world_time=start,
        wall_time=start,
        model=SPEC.name,
        version=version,
        check="input_drift",
        window="hour",
        window_start=start,
        severity=severity,
        rows=500,
        summary="",
        since=since,
    )


def shown(*rounds: list[Verdict]) -> float | None:
    registry = CollectorRegistry()
    gauges = Gauges(MonitorMetrics(registry))
    gauges.begin(SPEC, [])
    for latest in rounds:
        gauges.show(SPEC, [], latest)
    return registry.get_sample_value(
        "dojo_monitor_severity", {"model": SPEC.name, "check": "input_drift", "window": "hour"}
    )


def test_before_anything_is_judged_it_is_insufficient_data() -> None:
    assert shown() == LEVELS["insufficient_data"]


def test_a_night_with_few_rows_ends_no_trouble_and_a_quiet_morning_does() -> None:
    trouble, night = [verdict(0, "severe", EVENING)], [verdict(4, "insufficient_data", EVENING)]
    assert shown(trouble, night) == LEVELS["severe"]
    assert shown(trouble, night, [verdict(12, "ok", None)]) == LEVELS["ok"]


def test_without_trouble_a_night_is_insufficient_data() -> None:
    assert (
        shown([verdict(0, "ok", None)], [verdict(4, "insufficient_data", None)])
        == LEVELS["insufficient_data"]
    )


def test_a_trouble_goes_with_the_version_that_had_it() -> None:
    before, after = (
        [verdict(0, "severe", EVENING)],
        [verdict(0, "severe", EVENING), verdict(4, "insufficient_data", None, "2")],
    )
    assert shown(before, after) == LEVELS["insufficient_data"]


def test_only_versions_with_traffic_on_the_newest_day_are_judged_by_their_labels() -> None:
    known, old, new = MonitorMemory(), (SPEC.name, "1"), (SPEC.name, "2")
    day = datetime(2030, 3, 1, tzinfo=UTC)
    known.days = {old: {day - timedelta(days=9): answers(500)}}
    known.hours = {
        old: {day - timedelta(hours=3): answers(500)},
        new: {day + timedelta(hours=3): answers(1)},
    }
    assert with_traffic(known, [old, new], day) == {new}
    assert with_traffic(known, [old, new], day - timedelta(days=1)) == {old}, (
        "what comes after the judged day is not looked at"
    )
    assert with_traffic(known, [old, new], day + timedelta(days=1)) == {new}, (
        "a day without answers is no other version's"
    )
    known.hours[old][day + timedelta(hours=3)] = answers(1)
    assert with_traffic(known, [old, new], day) == {old, new}


def test_figures_stand_beside_the_holdouts_on_enough_rows_and_go_with_their_version() -> None:
    registry, key, reference = CollectorRegistry(), (SPEC.name, "1"), profile()
    gauges = Gauges(MonitorMetrics(registry))
    enough = reference.results
    few = Results(
        rows=9,
        figures={name: msgspec.structs.replace(of, rows=3) for name, of in enough.figures.items()},
    )

    def shown(measure: str) -> float | None:
        return registry.get_sample_value(
            "dojo_performance", {"model": SPEC.name, "version": "1", "measure": measure}
        )

    gauges.performance(key, enough, reference, answers(500), task_of(SPEC))
    assert shown("catch_rate") == shown("holdout_catch_rate") == enough.figures["catch_rate"].value
    assert shown("expected_pr_auc") is None, (
        "no scores were counted, so nothing is expected of them"
    )
    gauges.performance(key, few, reference, None, task_of(SPEC))
    assert [shown(name) for name in few.figures] == [None] * len(few.figures)
    assert shown("holdout_catch_rate") == enough.figures["catch_rate"].value
    gauges.forget_version(key)
    assert shown("holdout_catch_rate") is None


def test_the_width_of_a_rankings_choice_stands_beside_the_holdouts() -> None:
    registry, key = CollectorRegistry(), (SPEC.name, "1")
    gauges, reference = Gauges(MonitorMetrics(registry)), profile()
    bins = Distribution(ITEM_EDGES, (50,) * 40 + (0,) * 24, 0.0, 1.0)
    reference = msgspec.structs.replace(reference, shown=ShownItems("product", bins))

    def shown(measure: str) -> float | None:
        labels = {"model": SPEC.name, "version": "1", "measure": measure}
        return registry.get_sample_value("dojo_performance", labels)

    day = answers(1000)
    day.items[:4] = 250
    gauges.performance(key, reference.results, reference, day, task_of(SPEC))
    assert shown("shown_items") == pytest.approx(4, rel=0.01)
    assert shown("holdout_shown_items") == pytest.approx(40, rel=0.03)
    gauges.performance(key, reference.results, reference, answers(9), task_of(SPEC))
    assert shown("shown_items") is None, "no item was shown"
    gauges.performance(key, reference.results, reference, None, task_of(SPEC))
    assert shown("holdout_shown_items") == pytest.approx(40, rel=0.03)


def answers(rows: int) -> CountedWindow:
    found = CountedWindow()
    found.rows = rows
    return found
