"""Which answers and labels a bandit counts."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from dojo.core.events.types import Outcome, Prediction
from dojo.core.judging.bandits import BanditEvidence, new_evidence
from dojo.core.state.bandits import Bandit
from dojo.core.state.draws import Draw
from dojo.core.state.routes import Arm
from services.rollout.bandits.fold import fold_all
from tests.support.bandits import SPEC
from tests.support.rollouts import START

assert SPEC.bandit is not None
REWARD = SPEC.bandit.reward
LONGEST = SPEC.label.delay.maximum
BANDIT = Bandit(
    id="b",
    model=SPEC.name,
    policy="thompson",
    arms=(Arm("champion", "1", 0.6), Arm("challenger", "2", 0.4)),
    draw=Draw(sticky=False),
    started=START,
    who="test",
    why="",
)


def prediction(request_id: str = "r", at: datetime = START, **changes: Any) -> Prediction:
    made = Prediction(
        event_id=f"p-{request_id}",
        world_time=at,
        wall_time=START,
        prediction_id=request_id,
        request_id=request_id,
        model=SPEC.name,
        version="2",
        arm="challenger",
        entity_keys={"customer": "c", "banner": "b"},
        features={},
        feature_age_seconds={},
        score=0.2,
        flagged=True,
        latency_seconds=0.001,
        route_generation=7,
        propensity=0.4,
    )
    return msgspec.structs.replace(made, **changes)


def outcome(
    request_id: str = "r",
    asked: datetime = START,
    after: timedelta = LONGEST,
    label: float | None = 1.0,
    **changes: Any,
) -> Outcome:
    made = Outcome(
        event_id=f"o-{request_id}",
        world_time=asked + after,
        wall_time=START,
        model=SPEC.name,
        request_id=request_id,
        request_time=asked,
        label=label,
        hidden_by="" if label is not None else "declined",
    )
    return msgspec.structs.replace(made, **changes)


def learnt(*events: Any, after: timedelta = timedelta(hours=1)) -> BanditEvidence:
    evidence = new_evidence(2, 0, {})
    evidence.serves(7, (0.6, 0.4))
    fold_all(evidence, events, BANDIT, SPEC)
    evidence.ripen((START + after).timestamp(), REWARD, LONGEST.total_seconds())
    return evidence


def test_a_labelled_answer_counts_for_its_arm_by_its_propensity() -> None:
    evidence = learnt(prediction(), outcome())
    assert [one.answers for one in evidence.rewards] == [0, 1]
    assert evidence.rewards[1].total == pytest.approx(REWARD.flagged_positive / 0.4)
    assert learnt(outcome(), prediction()).rewards == evidence.rewards, "in any order"
    twice = learnt(prediction(), prediction(), outcome(), outcome(), prediction())
    assert (twice.rewards, twice.answers) == (evidence.rewards, evidence.answers)


@pytest.mark.parametrize(
    ("changes", "earned"),
    [
        ({"flagged": False}, 0.0),
        ({"flagged": True}, REWARD.flagged_positive),
    ],
)
def test_what_is_not_flagged_earns_nothing_and_counts(
    changes: dict[str, Any], earned: float
) -> None:
    evidence = learnt(prediction(**changes), outcome())
    assert (evidence.rewards[1].answers, evidence.rewards[1].earned) == (1, earned)


@pytest.mark.parametrize(
    "changes",
    [
        {"propensity": 0.0},  # the caller named the version
        {"route_generation": 6},  # a route before the bandit
        {"model": "another"},
        {"version": "1", "degraded": ("arm_failed",)},  # the champion stood in
    ],
)
def test_other_answers_do_not_count(changes: dict[str, Any]) -> None:
    evidence = learnt(prediction(**changes), outcome())
    assert [one.answers for one in evidence.rewards] == [0, 0]
    assert evidence.answers == [0, 0]


def test_an_early_label_waits_until_any_label_of_its_age_is_known() -> None:
    soon = outcome(after=timedelta(minutes=2))
    young = outcome("other", after=LONGEST - timedelta(seconds=1))
    assert learnt(prediction(), soon, young).pending() == [0, 1]
    assert learnt(prediction(), soon, outcome("other")).rewards[1].answers == 1


def test_a_world_that_lags_behind_the_clock_loses_no_label() -> None:
    """The gateway's clock was two days ahead of the visit that it was asked about."""
    asked = START - timedelta(days=2)
    evidence = learnt(prediction(), outcome(asked=asked))
    assert evidence.rewards[1].answers == 1


def test_a_hidden_label_is_never_known_and_a_released_one_stands_for_many() -> None:
    evidence = learnt(prediction(), outcome(label=None), after=timedelta(days=2))
    assert (evidence.rewards[1].answers, evidence.unlabelled) == (0, [0, 1])
    released = learnt(prediction(), outcome(weight=20.0)).rewards[1]
    assert (released.answers, released.weight) == (1, pytest.approx(20 / 0.4))


def test_counted_answers_are_let_go() -> None:
    evidence = learnt(prediction(), outcome(), outcome("early"), after=timedelta(days=2))
    joined = evidence.joined
    assert (joined.paired, joined.early, joined.open, joined.known_at) == ({}, {}, {}, {})
    assert evidence.rewards[1].answers == 1
