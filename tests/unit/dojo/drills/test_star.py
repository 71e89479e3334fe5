"""A run is told from its record: what was seen, thought, done and reached."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import msgspec

from dojo.cli.trace import TracedCommand
from dojo.drills.catalogue import drill
from dojo.drills.record import Diagnosis, DrillRun, Hypothesis, Told
from dojo.drills.scoring.post_mortem import ActionItem, Form
from dojo.drills.scoring.star import story

PAGED = datetime(2026, 11, 30, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return PAGED + timedelta(seconds=seconds)


RUN = DrillRun(
    number=1, drill="half-promoted", seal="", salt="", alert="ChampionWithoutTraffic",
    marks={"paged": at(0)},
    hypotheses=[
        Hypothesis(at=at(60), mechanism="bad_model", evidence="models", refuted=at(80),
                   against="routes show"),
        Hypothesis(at=at(90), mechanism="pinned_old_version", evidence="routes show"),
    ],
    diagnoses=[
        Diagnosis(at=at(100), component="route", mechanism="pinned_old_version",
                  trigger="manual_command", impact="none", scope="fraud_detection"),
    ],
    unanswered={"page": (100, 2), "end": (900, 5)},
)  # fmt: skip
COMMANDS = [
    TracedCommand(at(-50), ("models", "rollback", "m"), 0),  # before the page
    TracedCommand(at(110), ("models", "promote", "fraud_detection@2"), 1),  # it failed
    TracedCommand(at(120), ("models", "promote", "fraud_detection@2", "--force"), 0),
    TracedCommand(at(130), ("status",), 0),
]


def test_each_part_has_the_facts_of_the_record() -> None:
    found = story(RUN, drill("half-promoted"), COMMANDS, at(190))
    assert "ChampionWithoutTraffic paged me" in found.situation
    assert "fraud_detection" in found.task
    assert found.action == (
        "I thought of bad model, because of `models`. `routes show` excluded it. I thought of"
        " pinned old version, because of `routes show`. My diagnosis was pinned old version in the"
        " route. I called `models promote fraud_detection@2 --force`."
    )
    assert (
        found.result
        == "The harm was over 3:10 min after the page. 3 answers did not come meanwhile."
    )


def test_an_owner_and_planned_actions_are_told() -> None:
    told = Told(at=at(105), team="checkout", mechanism="x", since=at(0), mended=True)
    run = msgspec.structs.replace(RUN, told=[told], marks={"paged": at(0), "replayed": at(200)})
    item = ActionItem(kind="detect", what="an alert on roles", owner="ana", due=date(2026, 12, 31))
    spec = drill("half-promoted")
    found = story(run, spec, [], at(190), Form(actions=(item,)))
    assert "I told checkout, who ended it." in found.action
    assert "To detect it: an alert on roles (ana)." in found.result


def test_without_an_end_nothing_is_claimed() -> None:
    idle = DrillRun(number=1, drill="half-promoted", seal="", salt="", marks={"paged": at(0)})
    found = story(idle, drill("half-promoted"), [], None)
    assert found.action == "I wrote nothing down."
    assert found.result == "The harm was not ended."
    assert "No alert" in found.situation
