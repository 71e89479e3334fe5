"""What was played on a real stack, scored again: the right work passes, and others do not."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from dojo.cli.trace import TracedCommand
from dojo.drills.catalogue import catalogue
from dojo.drills.record import Diagnosis
from dojo.drills.scoring.score import score
from tests.drills.play import RECORDED, made_from, read
from tests.drills.responders import ACTIONS, GOLD_LEAST, LOOKS, MOST, RESTARTS
from tests.drills.table import table, written

ALL = catalogue()
# Below a hire. A blind action may end the harm, and a guess be half right.
LUCKY_MOST = 64.0

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


def calls_of(responder: str) -> list[tuple[str, ...]]:
    """Return what a responder calls in any drill."""
    restarts = [("restart", name) for name in RESTARTS]
    looks = [tuple(words.split()) for words in LOOKS]
    return {"nothing": [], "restarts": restarts, "shotgun": [*looks, *ACTIONS, *restarts]}[
        responder
    ]


@pytest.mark.parametrize("is_lucky", [False, True])
@pytest.mark.parametrize("responder", list(MOST))
@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_the_same_run_without_thought_stays_below_its_limit(
    file: Path, responder: str, is_lucky: bool
) -> None:
    """The page and the harm are as recorded. The work is not.

    With luck one of the blind restarts ended the harm, and it stayed away.
    """
    spec, played = ALL[file.stem.partition(".")[0]], read(file)
    if responder == "nothing" and is_lucky:
        return
    paged = played.run.marks["paged"]
    marks = {name: at for name, at in played.run.marks.items() if at <= paged}
    samples = [one for one in played.samples if one.at <= paged]
    if is_lucky:
        marks = {name: at for name, at in played.run.marks.items() if name != "acked"}
        samples = played.samples
    guess = Diagnosis(
        at=paged + timedelta(seconds=30), component="gateway", mechanism="bad_code",
        trigger="deploy_code", impact="degraded", scope="all",
    )  # fmt: skip
    run = msgspec.structs.replace(
        played.run, marks=marks, hypotheses=[], told=[], notes=[],
        diagnoses=[guess] if responder == "shotgun" else [],
        unanswered=played.run.unanswered if is_lucky else {},
    )  # fmt: skip
    commands = [
        TracedCommand(paged + timedelta(seconds=5 + number), words, 0)
        for number, words in enumerate(calls_of(responder))
    ]
    found = score(run, spec, commands, samples)
    assert found.total <= (LUCKY_MOST if is_lucky else MOST[responder]), found.parts
    assert found.grade in ("no hire", "lean hire")
