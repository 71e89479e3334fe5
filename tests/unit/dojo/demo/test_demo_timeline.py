from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

from rich.console import Console

from dojo.core.events.types import Verdict
from dojo.core.severity import Severity
from dojo.core.state.audit import GENESIS, Entry
from dojo.core.state.inbox import Message
from dojo.demo.showing.board import render
from dojo.demo.showing.timeline import ALERTS, Moment, changes, moments
from dojo.demo.showing.timeline import render as render_timeline

NOW = datetime(2025, 1, 6, tzinfo=UTC)


def verdict(
    hour: int, severity: Severity, version: str = "1", model: str = "fraud_detection"
) -> Verdict:
    at = NOW + timedelta(hours=hour)
    return Verdict(
        event_id=f"v-{hour}-{version}",
        world_time=at,
        wall_time=NOW,
        model=model,
        version=version,
        check="performance",
        window="day",
        window_start=at,
        severity=severity,
        rows=60,
        summary=f"catch rate is {severity}",
    )


def entry(hour: int, kind: str, what: str) -> Entry:
    return Entry(
        sequence=hour,
        previous=GENESIS,
        entry_id=what,
        kind=kind,  # type: ignore[arg-type]
        model="fraud_detection",
        who="responder",
        what=what,
        why="performance is severe",
        before=None,
        after=None,
        world_time=NOW + timedelta(hours=hour),
        wall_time=NOW,
    )


def message(hour: int, source: str) -> Message:
    at = NOW + timedelta(hours=hour)
    return Message(
        message_id=source,
        urgency="page",
        to="payments-risk",
        model="fraud_detection",
        title=f"told by {source}",
        text="",
        source=source,
        world_time=at,
        wall_time=NOW,
    )


def test_verdicts_are_told_when_they_change_and_a_new_version_may_end_the_trouble() -> None:
    seen = [
        verdict(0, "ok"),
        verdict(1, "severe"),
        verdict(2, "severe"),
        verdict(3, "insufficient_data", "2"),
        verdict(4, "ok", "2"),
    ]
    assert [(v.version, v.severity) for v in changes(seen)] == [("1", "severe"), ("2", "ok")]


def test_the_story_is_in_order_of_world_time_whoever_wrote_it_down() -> None:
    told = moments(
        [verdict(1, "severe"), verdict(1, "severe", model="another")],
        [
            entry(5, "gate", "improved"),
            entry(3, "response", "retrain"),
            entry(4, "route", "canary"),
            entry(-1, "gate", "long ago"),
        ],
        [message(2, f"{ALERTS}/pager"), message(2, "rollout")],
        "fraud_detection",
        NOW,
    )
    assert [moment.what for moment in told] == [
        "performance of version 1: severe",
        f"told by {ALERTS}/pager",
        "retrain",
        "improved",
    ]
    console = Console(width=120, record=True, quiet=True)
    console.print(render_timeline(told, "Timeline"))


def test_a_reason_is_told_once_by_each_actor() -> None:
    told = [
        Moment(NOW, who, "did something", why)
        for who, why in (
            ("responder", "catch rate of version 1"),
            ("rollout", "all checks are ok"),
            ("responder", "catch rate of version 1"),
            ("responder", ""),
            ("responder", "catch rate of version 1; the champion lost"),
            ("responder", "catch rate of version 1"),
            ("responder", "catch rate of version 12"),
            ("rollout", "all checks are ok"),
        )
    ]
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(render_timeline(told, "Timeline"))
    rows = [line.split("│") for line in console.export_text().splitlines() if "did" in line]
    assert [row[4].strip() for row in rows] == [
        "catch rate of version 1",
        "all checks are ok",
        "as above",
        "",
        "as above; the champion lost",
        "as above",
        "catch rate of version 12",
        "as above",
    ]


def test_the_board_shows_the_newest_verdict_of_each_check() -> None:
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    console.print(
        render(
            {"performance (day)": verdict(1, "severe")}, "no action on severe performance: paused"
        )
    )
    console.print(render({}, ""))
    text = console.export_text()
    assert "catch rate is severe" in text
    assert "◆ severe" in text
    assert "no action on severe performance: paused" in text, (
        "why nothing is done stands beside what is wrong"
    )
    assert "nothing to report" in text
