"""The response to a verdict: every row of the policy's table, and every circumstance both ways."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest

from dojo.core.events.types import Check
from dojo.core.severity import Severity
from dojo.core.tasks.specs import load_spec
from services.responder.decide import Circumstances, ResponseDecision, decide
from services.responder.policy import FAMILIES, LOOK_AT, remedy, spoils, urgency
from services.responder.state import Action, Incident, LatestVerdict, ModelState, Window

RESPONSE = load_spec(
    Path("models/fraud_detection.yaml")
).response  # notify, evaluate, roll back; 48 h recent, 24 h cooldown
T = datetime(2030, 3, 1, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)

MODEL = (
    "input_drift",
    "prediction_drift",
    "flagged_rate",
    "estimated_performance",
    "performance",
    "segments",
)
FEED = ("data_quality", "skew", "feature_freshness", "label_delay", "labels_missing")


def test_every_check_has_a_row_and_says_what_to_look_at() -> None:
    assert (
        set(FAMILIES) == set(LOOK_AT) == set(get_args(Check)) == {*MODEL, *FEED, "model_freshness"}
    )


@pytest.mark.parametrize("check", MODEL)
def test_a_models_trouble_follows_its_spec(check: Check) -> None:
    assert [
        remedy(check, severity, RESPONSE) for severity in ("warning", "severe", "critical")
    ] == [
        "notify",
        "evaluate",
        "roll_back",
    ]
    other = RESPONSE.model_copy(
        update={"warning": "evaluate", "severe": "notify", "critical": "evaluate"}
    )
    assert [remedy(check, severity, other) for severity in ("warning", "severe", "critical")] == [
        "evaluate",
        "notify",
        "evaluate",
    ]


@pytest.mark.parametrize("check", FEED)
def test_no_model_mends_a_feed_people_do(check: Check) -> None:
    assert {
        remedy(check, severity, RESPONSE) for severity in ("warning", "severe", "critical")
    } == {"notify"}
    assert [urgency(check, severity) for severity in ("warning", "severe", "critical")] == [
        "info",
        "warning",
        "page",
    ]


def test_an_old_model_is_its_owners_to_look_at_the_schedule_retrains_already() -> None:
    assert {
        remedy("model_freshness", severity, RESPONSE)
        for severity in ("warning", "severe", "critical")
    } == {"notify"}


@pytest.mark.parametrize("severity", ["ok", "insufficient_data"])
def test_what_is_no_trouble_has_no_remedy(severity: Severity) -> None:
    with pytest.raises(ValueError, match=severity):
        remedy("input_drift", severity, RESPONSE)


def test_wrong_values_spoil_late_ones_do_not() -> None:
    assert spoils("data_quality", "warning")
    assert spoils("skew", "critical")
    assert not spoils("data_quality", "ok")
    assert not any(
        spoils(check, "critical") for check in ("feature_freshness", "label_delay", "input_drift")
    )


# Circumstances.


def seen(severity: Severity, at: datetime = T) -> LatestVerdict:
    return LatestVerdict(
        verdict=f"verdict-{severity}",
        start=at - HOUR,
        judged=at,
        severity=severity,
        summary="it moved",
    )


def trouble(
    check: Check = "input_drift",
    severity: Severity = "critical",
    window: Window = "hour",
    **given: Any,
) -> Incident:
    return Incident(
        **{
            "id": f"{check}-1",
            "version": "2",
            "check": check,
            "since": T - 3 * HOUR,
            "windows": {window: seen(severity)},
            **given,
        }
    )


def world(**given: Any) -> Circumstances:
    known = {
        "now": T,
        "serving": "2",
        "traffic_since": T - 10 * HOUR,
        "previous": "1",
        "rolling_out": "",
        "paused": "",
    }
    return Circumstances(**{**known, **given})


def decided(
    *troubles: Incident, at: Circumstances | None = None, **state: Any
) -> ResponseDecision | None:
    known = {one.key: one for one in troubles}
    return decide(ModelState(model="m", troubles=known, **state), RESPONSE, at or world())


def kind_of(decision: ResponseDecision | None) -> tuple[str, str]:
    assert decision is not None
    return decision.kind, decision.topic


def test_a_critical_trouble_that_came_with_the_version_is_rolled_back() -> None:
    decision = decided(trouble())
    assert kind_of(decision) == ("roll_back", "")


@pytest.mark.parametrize(
    ("circumstances", "why"),
    [
        ({"traffic_since": T - 10 * DAY}, "the world has changed"),
        ({"traffic_since": None}, "not on record"),
        ({"traffic_since": T - HOUR}, "before version 2 had traffic"),
        ({"previous": ""}, "no version to go back to"),
    ],
)
def test_otherwise_it_is_retrained(circumstances: dict[str, Any], why: str) -> None:
    decision = decided(trouble(), at=world(**circumstances))
    assert kind_of(decision) == ("retrain", "")
    assert decision is not None
    assert why in decision.why


def test_the_window_in_which_the_traffic_came_counts_as_with_it() -> None:
    began = T - timedelta(minutes=130)
    assert (
        kind_of(decided(trouble(), at=world(traffic_since=began)))[0] == "roll_back"
    )  # since: 50 minutes before
    assert (
        kind_of(decided(trouble(), at=world(traffic_since=began + 20 * timedelta(minutes=1))))[0]
        == "retrain"
    )
    day = trouble(window="day", since=T - 12 * HOUR)
    assert kind_of(decided(day, at=world(traffic_since=T - HOUR)))[0] == "roll_back"


def test_trouble_that_the_predecessor_had_did_not_come_with_the_version() -> None:
    decision = decided(trouble(), inherited={"input_drift": "1"})
    assert kind_of(decision)[0] == "retrain"
    assert kind_of(decided(trouble(), inherited={"performance": "1"}))[0] == "roll_back"
    assert (
        kind_of(decided(trouble(), inherited={"input_drift": "0"}))[0] == "roll_back"
    )  # of an earlier one


def test_a_rollout_that_watches_the_version_is_asked_to_abort() -> None:
    assert kind_of(decided(trouble(), at=world(rolling_out="2"))) == ("abort_rollout", "")


def test_another_versions_rollout_is_let_finish() -> None:
    at = world(rolling_out="3", traffic_since=T - 10 * DAY)
    assert kind_of(decided(trouble(), at=at)) == ("retrain", "rollout")
    assert kind_of(decided(trouble(severity="severe"), at=at)) == ("evaluate", "rollout")


def test_severe_is_evaluated_and_retrained_only_when_that_says_degraded() -> None:
    assert kind_of(decided(trouble(severity="severe"))) == ("evaluate", "")
    degraded = trouble(
        severity="severe", degraded=True, evaluation={"reason": "PR-AUC 0.4 against 0.6"}
    )
    decision = decided(degraded)
    assert kind_of(decision) == ("retrain", "")
    assert decision is not None
    assert "PR-AUC 0.4 against 0.6" in decision.why


def test_a_warning_begins_nothing() -> None:
    assert decided(trouble(severity="warning")) is None


def test_nothing_is_trained_or_judged_on_broken_data() -> None:
    """Amounts come in cents instead of euros.

    They drift critically, and every retraining would learn the wrong thing.
    """
    for check in ("data_quality", "skew"):
        for broken in (trouble(check, "warning"), trouble(check, "severe")):
            for severity in ("severe", "critical"):
                assert kind_of(decided(trouble(severity=severity), broken))[1] == "broken_data"
    assert kind_of(decided(trouble(), trouble("label_delay", "critical")))[1] == ""
    aged = trouble("data_quality", "critical", windows={"hour": seen("critical", T - 25 * HOUR)})
    assert kind_of(decided(trouble(), aged))[1] == ""  # the last verdict is a day and a night old


def test_broken_data_stay_broken_over_a_night_that_says_nothing() -> None:
    """Hours are silent from 21:30 to 07:00.

    The day, broken from noon on, is only a warning, and its drift is critical.
    """
    evening, midnight = T.replace(hour=21, minute=30), T.replace(hour=0, minute=30) + DAY
    drift = trouble(windows={"day": seen("critical", midnight)})
    broken = trouble(
        "data_quality", windows={"hour": seen("severe", evening), "day": seen("warning", midnight)}
    )
    hours_only = trouble("data_quality", windows={"hour": seen("severe", evening)})
    for minutes in range(0, 11 * 60, 30):
        at = world(now=evening + timedelta(minutes=minutes))
        assert kind_of(decided(drift, broken, at=at))[1] == "broken_data", at.now
        assert kind_of(decided(drift, hours_only, at=at))[1] == "broken_data", at.now
    # Much later, the hour's verdict is old and the day's is not. A good hour says nothing about the
    # day.
    assert kind_of(decided(drift, broken, at=world(now=evening + 40 * HOUR)))[1] == "broken_data"
    mended = trouble(
        "data_quality", windows={"hour": seen("ok", midnight), "day": seen("warning", midnight)}
    )
    assert kind_of(decided(drift, mended, at=world(now=midnight)))[1] == "broken_data"
    well = trouble("data_quality", windows={"hour": seen("ok", midnight)})
    assert kind_of(decided(drift, well, at=world(now=midnight)))[1] == ""


def test_stale_features_are_no_changed_world() -> None:
    """A streamer hangs for an afternoon.

    The seconds since the last payment drift critically, and no retraining makes them fresh.
    """
    for check in ("input_drift", "prediction_drift", "flagged_rate", "estimated_performance"):
        for severity in ("severe", "critical"):
            assert (
                kind_of(decided(trouble(check, severity), stale_at=T - 5 * HOUR))[1]
                == "stale_features"
            )
            assert kind_of(decided(trouble(check, severity), stale_at=T - 6 * HOUR))[1] == "", (
                "fresh for as long as hours are judged"
            )
    day = trouble(window="day")
    assert kind_of(decided(day, stale_at=T - 29 * HOUR))[1] == "stale_features", (
        "the stale hours are in the day that is judged"
    )
    assert kind_of(decided(day, stale_at=T - 30 * HOUR))[1] == ""
    for check in ("performance", "segments"):
        assert kind_of(decided(trouble(check, window="day"), stale_at=T))[1] == "", "labels say it"


def test_paused_is_paused_for_everything() -> None:
    for severity in ("severe", "critical"):
        assert (
            kind_of(decided(trouble(severity=severity), at=world(paused="paused by mia: a try")))[1]
            == "paused"
        )


def test_one_action_at_a_time() -> None:
    action = Action(
        id="a", kind="evaluate", trouble="2/input_drift", verdict="v", version="2", why="w", begun=T
    )
    assert decided(trouble(), trouble("performance", "severe"), action=action) is None


@pytest.mark.parametrize("waits", ["", "its DAG is paused"])
def test_a_rollback_waits_for_no_order_and_an_evaluation_only_for_a_retraining_that_runs(
    waits: str,
) -> None:
    order = Action(
        id="a",
        kind="retrain",
        trouble="2/segments",
        verdict="v",
        version="2",
        why="w",
        begun=T,
        placed=True,
        waits=waits,
    )
    aside: Any = {"retrain": order}
    assert kind_of(decided(trouble(), aside=aside)) == ("roll_back", "")
    evaluation = decided(trouble(severity="severe"), aside=aside)
    assert (evaluation is None) is (not waits)
    world_changed = world(traffic_since=T - 10 * DAY)
    assert decided(trouble(), at=world_changed, aside=aside) is None, (
        "no second retraining beside the first"
    )
    assert decided(trouble(), at=world(paused="paused by mia"), aside=aside) is None, (
        "nor what is held back"
    )


def test_the_cooldown_holds_back_until_it_is_over() -> None:
    old = world(traffic_since=T - 10 * DAY)
    for severity in ("severe", "critical"):
        assert (
            kind_of(decided(trouble(severity=severity), at=old, ended=T - 23 * HOUR))[1]
            == "cooldown"
        )
        assert kind_of(decided(trouble(severity=severity), at=old, ended=T - 25 * HOUR))[1] == ""


def test_a_version_that_came_after_the_last_action_is_taken_back_whatever_the_cooldown() -> None:
    """A retraining brought a bad version, and twenty-four hours would be too long."""
    assert kind_of(decided(trouble(), at=world(), ended=T - 12 * HOUR)) == ("roll_back", "")
    assert kind_of(decided(trouble(), at=world(), ended=T - 5 * HOUR))[1] == "cooldown"
    assert (
        kind_of(decided(trouble(severity="severe"), at=world(), ended=T - 12 * HOUR))[1]
        == "cooldown"
    )


def test_trying_again_waits_until_there_is_something_new() -> None:
    later, old = T + HOUR, world(traffic_since=T - 10 * DAY)
    assert kind_of(decided(trouble(retrain_after=later), at=old))[1] == "later"
    assert kind_of(decided(trouble(severity="severe", evaluate_after=later)))[1] == "later"
    assert kind_of(decided(trouble(retrain_after=T), at=old))[1] == ""


def test_the_worst_goes_first_and_what_is_held_back_does_not_hold_others_back() -> None:
    decision = decided(trouble(severity="severe"), trouble("performance", "critical"))
    assert decision is not None
    assert decision.trouble.check == "performance"
    waiting = trouble("performance", "severe", since=T - DAY, evaluate_after=T + HOUR)
    decision = decided(trouble(severity="severe"), waiting)
    assert decision is not None
    assert (decision.trouble.check, decision.topic) == ("input_drift", "")


def test_a_verdict_that_was_not_repeated_for_long_begins_nothing() -> None:
    assert decided(trouble(windows={"hour": seen("critical", T - 7 * HOUR)})) is None
    assert decided(trouble(windows={"day": seen("critical", T - 2 * DAY)})) is not None


def test_an_old_critical_hour_neither_decides_nor_hides_a_severe_day() -> None:
    both = trouble(
        windows={"hour": seen("critical", T - 7 * HOUR), "day": seen("severe", T - 11 * HOUR)}
    )
    decision = decided(both)
    assert kind_of(decision) == ("evaluate", "")
    assert decision is not None
    assert decision.seen.severity == "severe"
    assert decision.trouble == both, "nothing that is known is forgotten"
    assert kind_of(decided(both, at=world(now=T - HOUR))) == ("roll_back", "")
    # It comes after today's critical troubles.
    assert (
        kind_of(decided(both, trouble("performance"), at=world(traffic_since=T - 10 * DAY)))[0]
        == "retrain"
    )


def test_a_version_without_the_traffic_is_not_acted_on() -> None:
    assert decided(trouble(), at=world(serving="3")) is None
