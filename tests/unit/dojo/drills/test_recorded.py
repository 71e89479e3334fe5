"""What was played on a real stack, scored again: the right work passes, and others do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from dojo.drills.catalogue import catalogue
from dojo.drills.scoring.score import score
from tests.drills.play import RECORDED, made_from, read
from tests.drills.responders import GOLD_LEAST, MOST
from tests.drills.table import table, written

ALL = catalogue()
FILES = sorted(RECORDED.glob("*.json"))


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_a_played_run_has_the_points_that_its_work_deserves(file: Path) -> None:
    name, _, responder = file.stem.partition(".")
    spec, played = ALL[name], read(file)
    assert played.made_from == made_from(spec), f"play it again: make drills ARGS={name}"
    assert {"injected", "witnessed", "paged"} <= played.run.marks.keys()
    found = score(played.run, spec, played.calls(), played.samples)
    if responder == "gold":
        assert found.total >= GOLD_LEAST, [one for one in found.parts if one.points < one.most]
        assert found.grade in ("hire", "strong hire")
        assert played.run.left == []
    else:
        assert found.total <= MOST[responder], found.parts


def test_the_page_has_the_figures_of_the_records() -> None:
    assert written() == table(), "python -m tests.drills.table"


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_harm_did_not_go_by_itself(file: Path) -> None:
    """At the page the outcome does not hold. Of who does nothing it never does."""
    name, _, responder = file.stem.partition(".")
    spec, played = ALL[name], read(file)
    paged = played.run.marks["paged"]
    after = [one for one in played.samples if one.at >= paged]
    assert len(after) >= 5
    if spec.control:
        return
    seen = after if responder == "nothing" else after[:5]
    assert not any(spec.outcome.holds(one.values) for one in seen)
