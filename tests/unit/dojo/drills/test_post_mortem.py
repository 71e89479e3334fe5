"""A post-mortem is compared with the record, line by line, and its form is made by the command."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dojo.drills.catalogue import drill
from dojo.drills.record import DrillRun
from dojo.drills.scoring.post_mortem import FORM_FILE, MARKS, FormError, compared, draft, read_form

SPEC = drill("two-recorders")
PAGED = datetime(2026, 11, 30, 12, tzinfo=UTC)
ENDED = PAGED + timedelta(minutes=9)

WRITTEN = """
unanswered: 110
timeline:
  began: 2026-11-30T11:58:40Z
  paged: 2026-11-30 12:01:00
  acknowledged: 2026-11-30T12:01:30+00:00
  ended: 2026-11-30T13:07:30+01:00
cause: lock
detection_gap: The lag of the lake had no alert.
actions:
  - {kind: prevent, what: one recorder by hand needs a flag, owner: platform, due: 2026-12-20}
  - {kind: detect, what: an alert on the lake's age, owner: platform, due: 2026-12-31}
"""


def run() -> DrillRun:
    return DrillRun(
        number=4,
        drill=SPEC.id,
        seal="",
        salt="",
        marks={
            "injected": PAGED - timedelta(minutes=1, seconds=20),
            "paged": PAGED,
            "acked": PAGED + timedelta(minutes=1),
        },
        unanswered={"page": (1000, 20), "end": (4000, 120)},
    )


def earned(directory: Path, text: str) -> dict[str, float]:
    (directory / FORM_FILE).write_text(text)
    lines = compared(read_form(directory), run(), SPEC, ENDED)
    assert {line.most for line in lines} == {2}
    return {line.what.split()[0]: line.points for line in lines}


def test_a_true_post_mortem_earns_all_ten(tmp_path: Path) -> None:
    assert set(earned(tmp_path, WRITTEN).values()) == {2.0}


@pytest.mark.parametrize(
    ("said", "instead", "loses"),
    [
        ("unanswered: 110", "unanswered: 130", "impact"),
        ("unanswered: 110", "unanswered: 79", "impact"),
        ("unanswered: 110", "unanswered:", "impact"),
        ("12:01:00", "12:02:01", "all"),
        ("  ended: 2026-11-30T13:07:30+01:00", "  ended:", "all"),
        ("cause: lock", "cause: hot_key", "the"),
        ("The lag of the lake had no alert.", "' '", "what"),
        ("kind: detect", "kind: prevent", "actions"),
        ("owner: platform, due: 2026-12-31", "owner: platform, due: ", "actions"),
        ("owner: platform, due: 2026-12-31", "owner: '', due: 2026-12-31", "actions"),
    ],
)
def test_each_line_that_differs_from_the_record_loses_its_points(
    tmp_path: Path, said: str, instead: str, loses: str
) -> None:
    assert said in WRITTEN
    found = earned(tmp_path, WRITTEN.replace(said, instead, 1))
    assert [what for what, points in found.items() if not points] == [loses]


def test_without_a_form_there_are_no_points_and_the_lines_say_so(tmp_path: Path) -> None:
    lines = compared(read_form(tmp_path), run(), SPEC, ENDED)
    assert sum(line.points for line in lines) == 0
    assert sum(line.most for line in lines) == 10
    assert {line.evidence for line in lines} == {"not written"}


def test_the_empty_form_is_right_and_earns_nothing_and_a_filled_one_is_kept(
    tmp_path: Path,
) -> None:
    file = draft(run(), tmp_path)
    form = read_form(tmp_path)
    assert form is not None
    assert list(form.timeline) == list(MARKS)
    assert sum(line.points for line in compared(form, run(), SPEC, ENDED)) == 0
    file.write_text(WRITTEN)
    assert draft(run(), tmp_path).read_text() == WRITTEN


def test_what_was_not_measured_or_never_ended_is_never_right(tmp_path: Path) -> None:
    (tmp_path / FORM_FILE).write_text(WRITTEN.replace("unanswered: 110", "unanswered: 0"))
    blind = run()
    blind.unanswered = {}
    impact, times, *_ = compared(read_form(tmp_path), blind, SPEC, None)
    assert (impact.points, times.points) == (0, 0)
    blind.unanswered = {"page": (10, 10), "end": (5, 5)}  # the counter began anew
    assert compared(read_form(tmp_path), blind, SPEC, None)[0].points == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", FORM_FILE),
        ("surprise: 1", "surprise: unknown key"),
        ("unanswered: many", "unanswered: "),
        ("actions: [{kind: hope, what: a, owner: b, due: 2026-12-31}]", r"actions\.0\.kind: "),
        ("timeline: {begun: 2026-11-30T12:00:00Z}", r"timeline\.begun"),
        ("timeline: {began: yesterday}", r"timeline\.began: "),
    ],
)
def test_a_wrong_form_is_refused_with_its_field(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / FORM_FILE).write_text(text)
    with pytest.raises(FormError, match=said):
        read_form(tmp_path)
