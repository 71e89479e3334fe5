"""Every kind of drift, from its cause to the response. Only time and the trainer's answers are
fake.

    dojo world drift's code -> event log -> monitor -> verdicts -> responder -> work orders, inbox
                                        monitor -> gauges -> Prometheus -> Alertmanager
                                                -> receiver -> inbox

Each test states the first check that finds the drift, and after how many world hours. It also
states the checks that must not see it, the messages to people, and the response.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from dojo.core.connections import connect_redis
from dojo.core.events.types import Check
from dojo.core.lake import start_of
from dojo.core.state.inbox import Message
from dojo.shop.drift_kinds import Kind
from dojo.shop.world_drift import new_drift
from services.monitor.judging.verdicts import TROUBLE
from tests.support.alerting import Alerting
from tests.support.bulk_monitor import DAY, HOUR, BulkMonitor
from tests.support.drift_story import Exposed, Story
from tests.support.drift_world import LIVE_FROM, TrainedWorld, live, quiet_source, train
from tests.support.responding import DEGRADED
from tests.support.servers import RedisServer, free_port, wait_until

pytestmark = pytest.mark.integration

STARTED = start_of(LIVE_FROM) + DAY + 12 * HOUR  # noon of the second live day

# The check's gauge in Prometheus, and the alert that tells people.
ALERTS: dict[Check, str] = {
    "input_drift": "InputDrift",
    "prediction_drift": "PredictionDrift",
    "data_quality": "DataQualityProblem",
    "flagged_rate": "FlaggedRateShift",
    "estimated_performance": "EstimatedPerformanceDrop",
    "performance": "PerformanceDrop",
    "segments": "SegmentPerformanceDrop",
    "label_delay": "LabelsLate",
    "labels_missing": "LabelsMissing",
    "feature_freshness": "FeatureViewStale",
}

# Wall seconds from the last verdict to the inbox. On an idle machine, scrape, rule, group and
# webhook take three.
ALERTED_WITHIN = 30.0

Begin = Callable[..., Story]
Alerted = Callable[[Check], Message]

# Checks that payments alone can trigger, without scores and labels.
INPUTS: frozenset[Check] = frozenset({"input_drift", "data_quality"})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> TrainedWorld:
    """Train on 45 of the spec's 90 days, with half of its trees. The checks need no more."""
    return train(tmp_path_factory.mktemp("world"), quiet_source(), training_days=45, trees=100)


@pytest.fixture(scope="module")
def alerting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alerting]:
    platform = Alerting(tmp_path_factory.mktemp("alerting"), watchdog_port=free_port())
    platform.monitor = Exposed(platform.monitor.port)  # type: ignore[assignment]
    try:
        platform.start()
        yield platform
    finally:
        platform.stop()


@pytest.fixture
def begin(world: TrainedWorld, alerting: Alerting, tmp_path: Path) -> Begin:
    """Return a function that begins a story at the midnight before the drift.

    Redis is empty, the monitor knows nothing yet, and Prometheus shows it.
    """

    def story(kind: Kind, days: int, strength: float | None = None) -> Story:
        """Begin the story. `days`: number of days from that midnight on."""
        days_lived = live(
            world, days + 1, tmp_path / "features", drifts=[new_drift(kind, STARTED, strength)]
        )
        connect_redis(alerting.redis_server.url).flushall()
        begun = Story(
            days_lived, alerting.redis_server.url, tmp_path, alerting.monitor, STARTED - 12 * HOUR
        )  # type: ignore[arg-type]
        begun.look()
        over = partial(
            wait_until,
            within=ALERTED_WITHIN,
            what="the story before is over for Alertmanager",
            every=0.2,
        )
        over(lambda: not any(alerting.alerts(name) for name in ALERTS.values()))
        return begun

    return story


@pytest.fixture
def alerted(alerting: Alerting) -> Alerted:
    """Return the inbox messages of the alert on a check."""
    return lambda check: alerting.wait_for(f"\n{ALERTS[check]} (", within=ALERTED_WITHIN)[0]


def test_a_unit_bug_is_told_as_a_broken_feed_and_nothing_is_trained_on_it(
    begin: Begin, alerted: Alerted
) -> None:
    story = begin("unit_bug", days=1)
    story.until(STARTED + 8 * HOUR)
    for check in ("input_drift", "prediction_drift", "data_quality", "flagged_rate"):
        assert story.hours_until(STARTED, check) == 3, (
            check
        )  # three windows of four, here the first three
    assert story.hours_until(STARTED, "input_drift", "critical") == 3
    assert story.troubled() <= {"input_drift", "prediction_drift", "data_quality", "flagged_rate"}
    assert alerted("data_quality").model == "fraud_detection"
    assert story.ordered() == [], (
        "cents for euros make every payment a fortune: no model learns that"
    )
    assert any("the data are broken" in message.text for message in story.messages())


def test_guests_without_history_are_missing_values_and_nothing_is_trained_on_them(
    begin: Begin, alerted: Alerted
) -> None:
    story = begin("null_burst", days=1)
    story.until(STARTED + 6 * HOUR)
    assert story.hours_until(STARTED, "data_quality", "critical") == 3
    assert story.hours_until(STARTED, "input_drift", "critical") == 3
    quality = next(
        verdict
        for verdict in story.verdicts
        if verdict.check == "data_quality" and verdict.severity == "critical"
    )
    assert {finding.subject for finding in quality.findings[:2]} == {
        "customer_activity",
        "customer_daily",
    }
    assert alerted("data_quality").urgency == "page"
    assert story.ordered() == []


def test_stale_features_are_told_when_the_sla_is_broken_and_by_nothing_else(
    begin: Begin, alerted: Alerted
) -> None:
    story = begin("stale_features", days=4)
    # The last publication was at six in the morning, with an SLA of 36 hours. The drift began at
    # noon, so the SLA is broken 30 hours later.
    story.until(STARTED + 29 * HOUR)
    assert story.troubled() == set()
    story.until(STARTED + 33 * HOUR)
    assert story.hours_until(STARTED, "feature_freshness", "warning") == 33, "three looks agree"
    assert alerted("feature_freshness").to == "ml-platform"
    story.until(STARTED + 70 * HOUR)
    assert story.hours_until(STARTED, "feature_freshness", "severe") == 69
    assert story.troubled() == {"feature_freshness"}, "yesterday's habits look like today's"
    assert story.ordered() == []
    assert [m.title for m in story.messages() if "feature_freshness" in m.title] == [
        "fraud_detection: feature_freshness of version 2 is warning",
        "fraud_detection: feature_freshness of version 2 is severe now",
    ]


def test_a_new_way_of_fraud_is_found_by_labels_alone_and_retrained_for(
    begin: Begin, alerted: Alerted
) -> None:
    story = begin("concept", days=4)
    story.until(STARTED + 2 * DAY)
    assert "input_drift" not in story.troubled()
    story.until(STARTED + 61 * HOUR)
    assert (
        story.hours_until(STARTED, "performance", "critical") == 60
    )  # half of the labels arrive within two days
    assert story.troubled().isdisjoint({*INPUTS, "label_delay"}), "one payment in a hundred moves"
    assert alerted("performance").urgency == "page"
    assert story.ordered() == ["retrain"], (
        "version 2 has been there for long: the world has changed, not the version"
    )
    assert "PR-AUC" in story.orders[0].why or "pr_auc" in story.orders[0].why


def test_late_labels_are_told_and_no_model_is_blamed(begin: Begin, alerted: Alerted) -> None:
    story = begin("label_delay", days=6)
    story.until(STARTED + 109 * HOUR)
    assert (
        story.hours_until(STARTED, "label_delay", "warning") == 108
    )  # daily windows, because the first slow days still bring quick labels
    assert story.troubled() == {
        "label_delay",
        "labels_missing",
    }, "labels that are late are not there either"
    assert alerted("label_delay")
    assert alerted("labels_missing")
    assert story.ordered() == []


def test_rising_prices_are_seen_by_hours_and_retrained_for_once_the_champion_is_known_to_have_lost(
    begin: Begin, alerted: Alerted
) -> None:
    story = begin("covariate_gradual", days=4)
    story.answers["evaluate"] = DEGRADED
    story.until(STARTED + 58 * HOUR)
    warned, severe = (
        story.hours_until(STARTED, "input_drift", severity) for severity in ("warning", "severe")
    )
    assert warned is not None
    assert severe is not None
    assert 24 <= warned < severe <= 58, "20 percentage points a day"
    assert story.troubled().isdisjoint(
        {"data_quality", "label_delay", "segments", "feature_freshness"}
    )
    assert alerted("input_drift").urgency == "warning"
    assert story.ordered() == ["evaluate", "retrain"]
    assert "the champion lost" in story.orders[-1].why
    assert [order.kind for order in story.orders if order.kind == "drift_report"] == [
        "drift_report"
    ]


def test_a_sale_is_drift_and_no_broken_feed(begin: Begin, alerted: Alerted) -> None:
    story = begin("covariate_sudden", days=1)
    story.answers["evaluate"] = {
        "verdict": "ok",
        "reason": "PR-AUC 0.590 against 0.600",
        "version": "2",
    }
    story.until(STARTED + 12 * HOUR)
    assert story.hours_until(STARTED, "input_drift") in (
        6,
        7,
    ), "few payments at noon, half of them gone to the evening"
    assert "data_quality" not in story.troubled()
    subjects = {
        f.subject
        for v in story.verdicts
        if v.check == "input_drift"
        for f in v.findings
        if f.severity in TROUBLE
    }
    assert any(subject.startswith("merchant_") for subject in subjects)
    assert alerted("input_drift")
    assert story.ordered()[0] == "evaluate"


def test_a_wave_of_fraud_is_seen_by_what_is_flagged_and_evaluated(
    begin: Begin, alerted: Alerted
) -> None:
    story = begin("prediction", days=2)
    story.answers["evaluate"] = {
        "verdict": "ok",
        "reason": "PR-AUC 0.590 against 0.600",
        "version": "2",
    }
    story.until(STARTED + 34 * HOUR)
    assert story.hours_until(STARTED, "flagged_rate", "warning") in (6, 7)
    assert story.hours_until(STARTED, "flagged_rate", "severe") in (33, 34)
    assert story.troubled().isdisjoint(INPUTS), "six payments in a hundred are new"
    assert alerted("flagged_rate").urgency == "warning"
    assert story.ordered() == ["evaluate"], (
        "the champion did not lose, the fraud is more and not other: nothing is retrained"
    )


def test_a_marketplace_of_new_sellers_is_missing_values_before_anything_else(
    begin: Begin, alerted: Alerted
) -> None:
    story = begin("new_category", days=1)
    story.until(STARTED + 6 * HOUR)
    assert story.hours_until(STARTED, "data_quality") == 3
    assert story.hours_until(STARTED, "input_drift") == 3
    quality = next(
        verdict
        for verdict in story.verdicts
        if verdict.check == "data_quality" and verdict.severity in TROUBLE
    )
    assert quality.findings[0].subject == "merchant_daily"
    assert alerted("data_quality")
    assert story.ordered() == [], "nobody knows yet whether sellers without a past are new or lost"


def test_a_fortnight_without_drift_raises_nothing(world: TrainedWorld, tmp_path: Path) -> None:
    """Without a verdict there is no alert and no response, because they have no other cause.

    The tests above confirm it.
    """
    redis = RedisServer(tmp_path)
    redis.start()
    try:
        verdicts = BulkMonitor(
            live(world, 14, tmp_path / "features"), redis.url, tmp_path
        ).live_through(14)
    finally:
        redis.stop()
    assert [verdict.summary for verdict in verdicts if verdict.severity in TROUBLE] == []
    assert {verdict.severity for verdict in verdicts} == {
        "ok",
        "insufficient_data",
    }, "nights, and that they are over"
