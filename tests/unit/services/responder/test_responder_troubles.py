"""Verdicts become troubles. People are told once, at each change, and at the end."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dojo.core.events.types import Check, Verdict
from dojo.core.severity import Severity
from dojo.core.tasks.specs import load_spec
from services.responder.announcements import trouble_message
from services.responder.state import ModelState
from services.responder.troubles import IncidentNotice, Window, close_replaced, is_of_the_past, take

T = datetime(2030, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def verdict(
    hour: int,
    severity: Severity,
    check: Check = "input_drift",
    window: Window = "hour",
    version: str = "2",
    **given: Any,
) -> Verdict:
    start = T + hour * HOUR
    known: dict[str, Any] = {
        "event_id": f"{version}-{check}-{window}-{hour}-{severity}",
        "world_time": start + HOUR,
        "wall_time": start,
        "model": "m",
        "version": version,
        "check": check,
        "window": window,
        "window_start": start,
        "severity": severity,
        "rows": 400,
        "summary": "amount PSI 0.3",
        "since": T,
    }
    return Verdict(**{**known, **given})


def told(verdicts: Sequence[Verdict]) -> tuple[ModelState, list[IncidentNotice]]:
    state, tellings = ModelState(model="m"), []
    for one in verdicts:
        state, telling = take(state, one)
        tellings += [telling] if telling is not None else []
    return state, tellings


def news(verdicts: Sequence[Verdict]) -> list[tuple[str, str]]:
    return [(telling.news, telling.trouble.severity) for telling in told(verdicts)[1]]


def test_the_same_trouble_is_told_once_until_it_changes_or_ends() -> None:
    hours = ["warning", "warning", "severe", "severe", "warning", "ok", "ok", "critical"]
    assert news([verdict(hour, severity) for hour, severity in enumerate(hours)]) == [
        ("began", "warning"),
        ("changed", "severe"),
        ("changed", "warning"),
        ("ended", "ok"),
        ("began", "critical"),
    ]


def test_hours_and_days_are_one_trouble_as_bad_as_the_worse() -> None:
    state, tellings = told(
        [
            verdict(0, "severe"),
            verdict(0, "warning", window="day"),
            verdict(1, "ok"),
            verdict(24, "ok", window="day"),
        ]
    )
    assert [(t.news, t.trouble.severity) for t in tellings] == [
        ("began", "severe"),
        ("changed", "warning"),
        ("ended", "ok"),
    ]
    assert state.troubles == {}


def test_too_few_rows_end_nothing() -> None:
    state, tellings = told(
        [verdict(0, "severe"), verdict(1, "insufficient_data"), verdict(2, "severe")]
    )
    assert len(tellings) == 1
    assert state.troubles["2/input_drift"].severity == "severe"
    assert news([verdict(0, "insufficient_data"), verdict(1, "ok")]) == []


def test_an_older_window_that_is_judged_again_changes_nothing() -> None:
    state, tellings = told(
        [verdict(0, "severe"), verdict(3, "critical"), verdict(1, "warning"), verdict(2, "ok")]
    )
    assert [t.trouble.severity for t in tellings] == ["severe", "critical"]
    assert state.troubles["2/input_drift"].severity == "critical"


def test_checks_and_versions_are_apart() -> None:
    state, tellings = told(
        [
            verdict(0, "severe"),
            verdict(0, "severe", "performance"),
            verdict(0, "severe", version="3"),
        ]
    )
    assert len(tellings) == len(state.troubles) == 3


def test_a_trouble_goes_with_its_version_and_is_inherited() -> None:
    state, _ = told(
        [verdict(0, "severe"), verdict(0, "warning", "performance"), verdict(0, "critical", "skew")]
    )
    same, none = close_replaced(state, frozenset({"2", "3"}))
    assert (same.troubles, none) == (state.troubles, [])
    after, gone = close_replaced(state, frozenset({"3"}))
    assert after.troubles == {}
    assert {telling.news for telling in gone} == {"replaced"}
    assert after.inherited == {"input_drift": "2"}  # neither mild troubles nor the feed's
    ended, _ = take(
        take(after, verdict(5, "warning", version="3"))[0], verdict(6, "ok", version="3")
    )
    assert ended.inherited == {}


SEVERITIES = st.sampled_from(["insufficient_data", "ok", "warning", "severe", "critical"])


def test_the_last_words_on_a_version_without_traffic_begin_nothing() -> None:
    known, _ = told([verdict(0, "severe", "performance")])
    gone = frozenset({"3"})
    assert is_of_the_past(known, verdict(1, "critical", "model_freshness"), gone)
    assert not is_of_the_past(known, verdict(1, "critical", "performance"), gone), (
        "what is known is to be ended"
    )
    assert not is_of_the_past(known, verdict(1, "critical", "model_freshness", version="3"), gone)
    assert not is_of_the_past(known, verdict(1, "critical", "model_freshness"), None)


@given(st.lists(st.tuples(st.integers(0, 9), SEVERITIES), max_size=20), st.data())
def test_verdicts_that_come_twice_tell_nothing_new(
    said: list[tuple[int, Severity]], data: st.DataObject
) -> None:
    verdicts = [verdict(hour, severity) for hour, severity in said]
    twice = [again for one in verdicts for again in [one] * data.draw(st.integers(1, 2))]
    assert told(twice)[0].troubles == told(verdicts)[0].troubles
    assert [t.occasion for t in told(twice)[1]] == [t.occasion for t in told(verdicts)[1]]


@given(st.lists(st.tuples(st.integers(0, 9), SEVERITIES), max_size=20))
def test_a_batch_that_is_delivered_again_ends_where_it_did(
    said: list[tuple[int, Severity]],
) -> None:
    """A kill comes between remembering and acknowledging.

    Messages that are told again keep their names.
    """
    verdicts = [
        verdict(hour, severity, world_time=T + (20 + n) * HOUR)
        for n, (hour, severity) in enumerate(said)
    ]
    once, twice = told(verdicts), told([*verdicts, *verdicts])
    assert {key: one.windows for key, one in twice[0].troubles.items()} == {
        k: one.windows for k, one in once[0].troubles.items()
    }


@given(st.lists(SEVERITIES, max_size=20))
def test_occasions_have_names_of_their_own(said: list[Severity]) -> None:
    occasions = [
        t.occasion for t in told([verdict(hour, severity) for hour, severity in enumerate(said)])[1]
    ]
    assert len(set(occasions)) == len(occasions)


@pytest.mark.parametrize(
    ("check", "severity", "level", "says"),
    [
        ("input_drift", "warning", "info", "Nothing is done about it automatically"),
        ("input_drift", "severe", "warning", "evaluated on the freshest labelled requests"),
        ("performance", "critical", "warning", "rolled back if it brought this"),
        ("skew", "critical", "page", "serving computes or receives them differently"),
        ("feature_freshness", "severe", "warning", "dojo logs materializer"),
    ],
)
def test_the_owner_reads_what_was_found_and_what_comes_next(
    check: Check, severity: Severity, level: str, says: str
) -> None:
    response = load_spec(Path("models/fraud_detection.yaml")).response
    _, (telling,) = told([verdict(0, severity, check)])
    urgency, title, text = trouble_message("m", telling, response)
    assert urgency == level
    assert title == f"{check} of version 2 is {severity}"
    assert says in text
    assert "amount PSI 0.3" in text
    assert "Since 2030-03-01 00:00" in text


def test_that_features_were_stale_is_remembered_beyond_the_end_of_it() -> None:
    stale, fresh = (
        verdict(hour, severity, "feature_freshness", "now")
        for hour, severity in ((3, "warning"), (5, "ok"))
    )  # type: ignore[arg-type]
    state, _ = told([stale, fresh])
    assert state.troubles == {}
    assert state.stale_at == T + 4 * HOUR
    assert (
        take(state, verdict(1, "warning", "feature_freshness", "now"))[0].stale_at == T + 4 * HOUR
    ), "an older one"
    assert told([verdict(3, "critical"), fresh])[0].stale_at is None
