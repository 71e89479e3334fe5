"""Rollouts of a regression and a ranking.

Each is judged by its task's answers and labels, with the real evidence and judgement.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pytest

from dojo.core.events.types import Outcome, Prediction, Shadow
from dojo.core.judging.rollout.decide import StageJudgement, judge
from dojo.core.judging.rollout.evidence import Evidence, decode_evidence, encode_evidence
from dojo.core.judging.rollout.stages import Stage
from dojo.core.spec.schema import ModelSpec
from dojo.core.state.rollouts import Rollout
from dojo.core.tasks.specs import load_spec
from services.rollout.fold import fold
from tests.support.rollout_events import Gateway, Quality
from tests.unit.services.rollout.test_rollout_simulations import (
    ENOUGH,
    START,
    rollout_in,
    route_for,
)

AMOUNTS = load_spec(Path("tests/support/fleet/expected_amount.yaml"))
ORDER = load_spec(Path("tests/support/fleet/spending_order.yaml"))

# Figures as the gate leaves them. A tenth of the champion's errors lie beyond 20 euro, and its
# values between 5 and 95. It flags 60 % of the best candidates.
AMOUNTS_BASELINE = {
    "large_error": 20.0,
    **{f"value_p{10 * tenth}": 10.0 * tenth for tenth in range(1, 10)},
    # The challenger's interval.
    "interval_low": -10.0,
    "interval_high": 10.0,
    "interval_floor": 1.0,
    "interval_power": 0.0,
}
ORDER_BASELINE = {"top_recall": 0.6}


@dataclass(frozen=True)
class Answers:
    """A version's answers. `scores` draws values from a generator. A share is flagged."""

    scores: Callable[[np.random.Generator], float]
    flagged: float | None = None

    def one(self, random: np.random.Generator) -> tuple[float, bool | None]:
        return self.scores(random), (
            None if self.flagged is None else bool(random.random() < self.flagged)
        )


def played(
    spec: ModelSpec,
    stage: Stage,
    baseline: dict[str, float],
    champion: Answers,
    challenger: Answers,
    label: Callable[..., float],
    weight: float = 1.0,
) -> StageJudgement:
    """Return the judgement after 6,000 requests, or when the challenger is rolled back.

    Evidence is stored and read again on the way.
    """
    rollout: Rollout = msgspec.structs.replace(rollout_in(stage, 5, spec), baseline=baseline)
    route, random = route_for(rollout, spec), np.random.default_rng(5)
    gateway = Gateway(
        {"1": Quality(errors=0, slow=0), "2": Quality(errors=0, slow=0)}, seed=5, model=spec.name
    )
    evidence = Evidence(stage=stage, cursors={}, generation=route.generation)
    answers = {"1": champion, "2": challenger}
    for sent in range(6_000):
        for event in gateway.answer(route, START + timedelta(seconds=sent)):
            if isinstance(event, Prediction):
                score, flagged = answers[event.version].one(random)
                event = msgspec.structs.replace(event, score=score, flagged=flagged)
                fold(evidence, event, rollout, spec)
                outcome = outcome_of(event, label(random, event))
                outcome = msgspec.structs.replace(outcome, weight=weight)
                fold(evidence, outcome, rollout, spec)
            elif isinstance(event, Shadow):
                (score, flagged), (old, old_flagged) = challenger.one(random), champion.one(random)
                fold(
                    evidence,
                    msgspec.structs.replace(
                        event,
                        score=score,
                        flagged=flagged,
                        champion_score=old,
                        champion_flagged=old_flagged,
                    ),
                    rollout,
                    spec,
                )
        if sent % 200 == 199:
            evidence = decode_evidence(encode_evidence(evidence))
            if (found := judge(evidence, spec, baseline, ENOUGH)).decision == "roll_back":
                return found
    return judge(evidence, spec, baseline, ENOUGH)


def outcome_of(event: Prediction, label: float) -> Outcome:
    return Outcome(
        event_id=Outcome.id_for(event.model, event.request_id),
        world_time=event.world_time + timedelta(hours=2),
        wall_time=datetime(2026, 1, 1, tzinfo=UTC),
        model=event.model,
        request_id=event.request_id,
        request_time=event.world_time,
        label=label,
    )


def failed(found: StageJudgement) -> list[str]:
    return [look.check for look in found.looks if look.verdict == "failed"]


def even(random: np.random.Generator) -> float:
    return float(random.uniform(0, 100))


@pytest.mark.parametrize("stage", [Stage.SHADOW, Stage.CANARY])
def test_two_regressions_are_compared_by_their_values_and_never_by_flags(stage: Stage) -> None:
    same = played(
        AMOUNTS, stage, AMOUNTS_BASELINE, Answers(even), Answers(even), lambda random, event: 0.0
    )
    checks = {look.check for look in same.looks}
    assert same.decision == "advance"
    assert "scores" in checks
    assert "declines" not in checks
    cents = Answers(lambda random: 100 * even(random))
    assert failed(
        played(AMOUNTS, stage, AMOUNTS_BASELINE, Answers(even), cents, lambda random, event: 0.0)
    ) == ["scores"]


@pytest.mark.parametrize(
    ("share", "far", "taken_back"),
    [
        (0.10, 50.0, []),
        (0.30, 50.0, ["large_errors"]),
        (0.20, 15.0, []),
        (0.50, 15.0, ["outside_interval"]),
    ],
)
def test_labels_take_a_regression_back_whose_errors_are_large_too_often(
    share: float, far: float, taken_back: list[str]
) -> None:
    def label(random: np.random.Generator, event: Prediction) -> float:
        return event.score + (far if random.random() < share else 5.0)

    found = played(AMOUNTS, Stage.WATCH, AMOUNTS_BASELINE, Answers(even), Answers(even), label)
    assert failed(found) == taken_back
    assert found.decision == ("roll_back" if taken_back else "advance")


@pytest.mark.parametrize("stage", [Stage.SHADOW, Stage.CANARY])
def test_two_rankings_are_compared_by_what_they_flag_and_never_by_the_scale_of_their_scores(
    stage: Stage,
) -> None:
    old, other_scale = Answers(even, 0.3), Answers(lambda random: 1000 + even(random), 0.3)
    found = played(ORDER, stage, ORDER_BASELINE, old, other_scale, lambda random, event: 0.0)
    assert found.decision == "advance"
    assert "scores" not in {look.check for look in found.looks}


def test_a_shadow_that_flags_three_times_as_much_is_taken_back() -> None:
    """In a canary each customer counts once, and almost every customer is flagged sooner or later.

    Only the shadow's pairs show the difference.
    """
    greedy = played(
        ORDER,
        Stage.SHADOW,
        ORDER_BASELINE,
        Answers(even, 0.3),
        Answers(even, 0.9),
        lambda random, event: 0.0,
    )
    assert failed(greedy) == ["declines"]


@pytest.mark.parametrize(("recall", "taken_back"), [(0.6, []), (0.2, ["missed_top"])])
def test_labels_take_a_ranking_back_that_misses_the_best(
    recall: float, taken_back: list[str]
) -> None:
    # Every candidate is among the best here, so the flagged share is the recall.
    answers = Answers(even, recall)
    found = played(ORDER, Stage.WATCH, ORDER_BASELINE, answers, answers, lambda random, event: 3.0)
    assert failed(found) == taken_back
    assert found.decision == ("roll_back" if taken_back else "advance")


def test_weights_of_ranks_are_no_selection_of_labels() -> None:
    answers = Answers(even, 0.6)
    plain, weighted = (
        played(ORDER, Stage.WATCH, ORDER_BASELINE, answers, answers, lambda *_: 3.0, weight)
        for weight in (1.0, 6.0)
    )
    assert weighted.looks == plain.looks


@pytest.mark.parametrize(("recall", "taken_back"), [(0.09, []), (0.02, ["missed_top"])])
def test_a_champion_that_flags_few_of_the_best_can_still_be_undercut(
    recall: float, taken_back: list[str]
) -> None:
    """On real payments the ten top ranks held 8.9 % of the best candidates.

    A drop by 15 percentage points could not be seen.
    """
    answers = Answers(even, recall)
    found = played(
        ORDER, Stage.WATCH, {"top_recall": 0.089}, answers, answers, lambda random, event: 3.0
    )
    assert failed(found) == taken_back


def test_candidates_that_are_not_the_best_are_no_trial() -> None:
    found = played(
        ORDER,
        Stage.WATCH,
        ORDER_BASELINE,
        Answers(even, 0.0),
        Answers(even, 0.0),
        lambda random, event: 2.0,
    )
    (look,) = (look for look in found.looks if look.check == "missed_top")
    assert (look.requests, look.verdict) == (0, "insufficient_data")
