"""The timeline has every moment of a run once, in order, also after the stack is gone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from dojo.cli.trace import TracedCommand
from dojo.core.state.audit import Entry
from dojo.core.state.inbox import Message
from dojo.drills.record import Diagnosis, DrillRun, Hypothesis, Note, Told
from dojo.drills.scoring.timeline import AROUND_FILE, Around, after, read_around, timeline

PAGED = datetime(2026, 11, 30, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return PAGED + timedelta(seconds=seconds)


RUN = DrillRun(
    number=1, drill="cents", seal="", salt="", alert="FlaggedRateShift",
    marks={"injected": at(-90), "paged": at(0), "acked": at(20), "resolve_asked": at(350)},
    hypotheses=[
        Hypothesis(at=at(60), mechanism="bad_model", evidence="drift show", refuted=at(80),
                   against="models list"),
        Hypothesis(at=at(90), mechanism="lock", evidence="status"),
    ],
    diagnoses=[
        Diagnosis(at=at(100), component="caller", mechanism="bad_data_units",
                  trigger="upstream_change", impact="none", scope="all"),
    ],
    told=[Told(at=at(120), team="checkout", mechanism="bad_data_units", since=at(-9999),
               mended=True)],
    notes=[Note(at=at(130), text="now wait")],
)  # fmt: skip
COMMANDS = [
    TracedCommand(at(30), ("status",), 0),
    TracedCommand(at(40), ("$", "redis-cli", "ping"), 1),
]
AROUND = Around(
    messages=[
        Message(message_id="a", urgency="page", title="too many flags", text="", to="risk",
                model="m", source="s", world_time=None, wall_time=at(-1)),
    ],
    entries=[Entry(entry_id="e", kind="route", model="m", who="ada", what="route switched", why="",
                   wall_time=at(50))],
)  # fmt: skip


def test_without_a_page_the_hand_over_is_told() -> None:
    found = timeline(msgspec.structs.replace(RUN, alert=""), [], Around())
    assert ("drill", "you are on call") in [(one.source, one.what) for one in found]
    assert "the page" not in [one.what for one in found]


def test_every_moment_stands_in_its_order() -> None:
    found = timeline(RUN, COMMANDS, AROUND, ended=at(300))
    assert [(one.source, one.what) for one in found] == [
        ("drill", "the fault is injected"),
        ("alert", "risk: too many flags"),
        ("drill", "the page"),
        ("drill", "acknowledged"),
        ("person", "dojo status"),
        ("person", "$ redis-cli ping (exit code 1)"),
        ("change", "ada: route switched"),
        ("person", "maybe bad_model, by drift show"),
        ("person", "not bad_model, by models list"),
        ("person", "maybe lock, by status"),
        ("person", "answer: caller, bad_data_units, upstream_change"),
        ("person", f"told checkout: bad_data_units, since {at(-9999):%m-%d %H:%M}"),
        ("person", "now wait"),
        ("drill", "the harm is over"),
    ]
    assert [one.at for one in found] == sorted(one.at for one in found)
    assert after(found[0], RUN) == timedelta(seconds=-90)


def test_an_invalid_run_has_a_timeline_too(tmp_path: Path) -> None:
    invalid = DrillRun(number=1, drill="cents", seal="", salt="", marks={"ended": at(1)})
    (moment,) = timeline(invalid, [], read_around(tmp_path))
    assert moment.what == "ended"
    assert after(moment, invalid) is None


def test_what_was_kept_is_read_again(tmp_path: Path) -> None:
    (tmp_path / AROUND_FILE).write_bytes(msgspec.json.encode(AROUND))
    assert read_around(tmp_path) == AROUND
