"""False alarms and detection over seeded simulations, with the real evidence and judgement.

The judge looks after every few requests. Customers differ, and some pay far more often than others.
In the false-alarm simulations every 20th customer fails, is slow and is flagged 20 times as often.
Each stays on the same arm. This shows the effect of sticky assignment on tests that take requests
for independent.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import msgspec
import numpy as np
import pytest

from dojo.core.events.types import Event, Prediction
from dojo.core.judging.rollout.decide import StageJudgement, judge
from dojo.core.judging.rollout.evidence import Evidence
from dojo.core.judging.rollout.stages import Stage
from dojo.core.spec.schema import ModelSpec
from dojo.core.state.rollouts import Rollout, Transition
from dojo.core.state.routes import Route
from dojo.core.tasks.specs import load_spec
from dojo.stats.inference.sequential import EProcess, probability_of_falling_on
from services.rollout.fold import fold
from services.rollout.stages import route_of
from tests.support.rollout_events import Gateway, Quality

SPEC = load_spec(Path("models/fraud_detection.yaml"))
START = datetime(2018, 7, 1, tzinfo=UTC)
ENOUGH = timedelta(days=30)  # no simulation waits for time
LOOK_EVERY = 20  # requests; a controller at one look a second and 20 requests a second


def rollout_in(stage: Stage, seed: int, spec: ModelSpec = SPEC) -> Rollout:
    begun = Transition(before=None, after=stage, world_time=START, who="test", why="test")
    return Rollout(
        id=f"{spec.name}-2-{seed}",
        model=spec.name,
        version="2",
        champion="1",
        started=START,
        why="test",
        who="test",
        stage=stage,
        baseline={"recall_at_threshold": 0.6},
        history=(begun,),
    )


def route_for(rollout: Rollout, spec: ModelSpec = SPEC) -> Route:
    wanted = route_of(rollout, spec)
    return Route(
        model=spec.name,
        generation=7,
        strategy=wanted.strategy,
        arms=wanted.arms,
        salt=wanted.salt,
        changed_at=START,
        who="test",
        why="test",
    )


def judgements(
    gateway: Gateway, stage: Stage, seed: int, requests: int
) -> Iterator[tuple[int, StageJudgement]]:
    """Yield the number of requests and the judgement, at every look."""
    rollout = rollout_in(stage, seed)
    route = route_for(rollout)
    evidence = Evidence(stage=stage, cursors={}, generation=route.generation)
    for sent in range(1, requests + 1):
        events: list[Event] = gateway.answer(route, START + timedelta(seconds=sent))
        if stage is Stage.WATCH:
            events.append(gateway.outcome(events[0], timedelta(hours=6)))  # type: ignore[arg-type]
        for event in events:
            fold(evidence, event, rollout, SPEC)
        if sent % LOOK_EVERY == 0:
            yield sent, judge(evidence, SPEC, rollout.baseline, ENOUGH)


def rolled_back_at(
    qualities: dict[str, Quality],
    stage: Stage,
    seed: int,
    requests: int,
    moody: bool = True,
    customers: int = 2000,
) -> int | None:
    """Return the number of requests until the challenger was stopped, or None if it was not."""
    gateway = Gateway(qualities, seed=seed, moody=moody, customers=customers)
    return next(
        (
            n
            for n, found in judgements(gateway, stage, seed, requests)
            if found.decision == "roll_back"
        ),
        None,
    )


@pytest.mark.timeout(600)
def test_a_canary_as_good_as_the_champion_is_rolled_back_in_at_most_5_percent_of_200_rollouts() -> (
    None
):
    same = {"1": Quality(), "2": Quality()}
    stopped = [
        seed for seed in range(200) if rolled_back_at(same, Stage.CANARY, seed, 4_000) is not None
    ]
    assert len(stopped) <= 10


def test_a_fourfold_error_rate_is_caught_within_a_median_of_4000_requests() -> None:
    worse = {"1": Quality(errors=0.005), "2": Quality(errors=0.02)}
    caught = [
        rolled_back_at(worse, Stage.CANARY, seed, 8_000, moody=False, customers=5_000) or 10**9
        for seed in range(101)
    ]
    assert median(caught) <= 4_000


def test_a_fourfold_error_rate_is_caught_as_soon_in_a_world_that_runs_fast() -> None:
    """At 100 requests a second, many failures fall into another failure's burst."""
    worse = {"1": Quality(errors=0.005), "2": Quality(errors=0.02)}
    caught = [
        next(
            (
                n
                for n, found in judgements(gateway, Stage.CANARY, seed, 8_000)
                if found.decision == "roll_back"
            ),
            10**9,
        )
        for seed in range(41)
        for gateway in [Gateway(worse, seed=seed, moody=False, customers=5_000, per_second=100)]
    ]
    assert median(caught) <= 4_000


FLAWLESS = Quality(errors=0.0, slow=0.0)


def stalled(prediction: Prediction, at: datetime) -> Prediction:
    """Simulate a stalled challenger process. The champion answers for it, late."""
    return msgspec.structs.replace(
        prediction, version="1", degraded=("arm_failed",), latency_seconds=0.08, wall_time=at
    )


def canary_with(
    failing: set[int], requests: int, seed: int, per_second: float = 20
) -> list[StageJudgement]:
    """Simulate a flawless champion, and a challenger that fails only in requests of these numbers.

    The judgement follows each of its requests.
    """
    rollout = rollout_in(Stage.CANARY, seed)
    route, gateway = (
        route_for(rollout),
        Gateway({"1": FLAWLESS, "2": FLAWLESS}, seed=seed, per_second=per_second),
    )
    evidence, found, stall = (
        Evidence(stage=Stage.CANARY, cursors={}, generation=route.generation),
        [],
        START,
    )
    own = 0
    for sent in range(requests):
        (event,) = gateway.answer(route, START + timedelta(seconds=4 * sent))
        assert isinstance(event, Prediction)
        if event.arm == "challenger":
            own += 1
            if own in failing:
                stall = (
                    event.wall_time
                    if own - 1 not in failing
                    else stall + timedelta(milliseconds=20)
                )
                event = stalled(event, stall)
        fold(evidence, event, rollout, SPEC)
        if event.arm == "challenger":
            found.append(judge(evidence, SPEC, rollout.baseline, ENOUGH))
    return found


def test_two_stalls_of_the_challengers_process_in_four_hours_are_no_fault_of_the_version() -> None:
    """Each stall hits five customers.

    The challenger has ten failures and ten late answers, the champion none.
    """
    stopped = []
    for seed in range(20):
        first, second = np.random.default_rng(seed).choice(np.arange(1, 300, 10), 2, replace=False)
        stalls = {int(start) + n for start in (first, second) for n in range(5)}
        found = canary_with(stalls, 3_600, seed)
        stopped += [seed for judged in found if judged.decision == "roll_back"][:1]
        errors = next(look for look in found[-1].looks if look.check == "errors")
        assert errors.value == pytest.approx(10 / errors.requests), (
            "every failure is counted, if not as evidence"
        )
    assert not stopped


def test_three_failures_in_ten_thousand_requests_are_below_the_floor_and_the_limit_says_so() -> (
    None
):
    last = canary_with({990, 1_000, 1_010}, 13_000, 1)[-1]
    errors, slow = (
        next(look for look in last.looks if look.check == check) for check in ("errors", "slow")
    )
    assert (last.decision, errors.verdict, errors.requests > 1_000) == ("advance", "ok", True)
    assert (errors.shown(errors.limit), slow.shown(slow.limit)) == ("0.1 %", "1 %")


def test_a_canary_that_always_fails_is_stopped_within_200_requests() -> None:
    broken = {"1": Quality(errors=0.005), "2": Quality(errors=1.0)}
    stopped = [rolled_back_at(broken, Stage.CANARY, seed, 1_000) or 10**9 for seed in range(40)]
    assert max(stopped) <= 200


@pytest.mark.parametrize("stage", [Stage.SHADOW, Stage.WATCH])
def test_an_equally_good_version_passes_the_other_stages_too(stage: Stage) -> None:
    same = {"1": Quality(), "2": Quality()}
    stopped = [seed for seed in range(40) if rolled_back_at(same, stage, seed, 3_000) is not None]
    assert len(stopped) <= 2  # 5 % of 40


@pytest.mark.parametrize(
    ("stage", "worse", "check"),
    [
        (Stage.SHADOW, Quality(errors=0.05), "errors"),
        (Stage.SHADOW, Quality(slow=0.1), "slow"),
        (Stage.SHADOW, Quality(flagged=0.2), "declines"),
        (Stage.SHADOW, Quality(scores=(2.0, 8.0)), "scores"),
        (Stage.CANARY, Quality(degraded=0.4), "degraded"),
        (Stage.CANARY, Quality(slow=0.2), "slow"),
        (Stage.CANARY, Quality(flagged=0.2), "declines"),
        (Stage.CANARY, Quality(flagged=0.0), "declines"),
        (Stage.CANARY, Quality(scores=(2.0, 8.0)), "scores"),
        (Stage.WATCH, Quality(errors=0.05), "errors"),
        (Stage.WATCH, Quality(slow=0.2), "slow"),
    ],
)
def test_each_fault_is_found_by_its_own_check(stage: Stage, worse: Quality, check: str) -> None:
    gateway = Gateway({"1": Quality(flagged=0.05), "2": worse}, seed=5, moody=False)
    found = next(j for _, j in judgements(gateway, stage, 5, 20_000) if j.decision == "roll_back")
    assert [look.check for look in found.looks if look.verdict == "failed"] == [check]
    assert found.reason.startswith(f"{check}: ")


# The challenger catches 7 % of the positives instead of 60 %. Or it catches 60 % and flags 4 % of
# the others, twice the limit.
@pytest.mark.parametrize(
    ("if_flagged", "if_passed", "check"), [(0.12, 0.025, "missed"), (0.2, 0.007, "false_positives")]
)
def test_outcomes_take_a_promoted_version_back(
    if_flagged: float, if_passed: float, check: str
) -> None:
    rollout = rollout_in(Stage.WATCH, 3)
    route, gateway = (
        route_for(rollout),
        Gateway(
            {"1": Quality(), "2": Quality(flagged=0.05 if check == "false_positives" else 0.015)},
            seed=3,
        ),
    )
    evidence = Evidence(stage=Stage.WATCH, cursors={}, generation=route.generation)
    for sent in range(8_000):
        (prediction,) = gateway.answer(route, START + timedelta(seconds=sent))
        assert isinstance(prediction, Prediction)
        fold(evidence, prediction, rollout, SPEC)
        fold(
            evidence,
            gateway.outcome(prediction, timedelta(hours=5), if_flagged, if_passed),
            rollout,
            SPEC,
        )
        if (found := judge(evidence, SPEC, rollout.baseline, ENOUGH)).decision == "roll_back":
            break
    assert [look.check for look in found.looks if look.verdict == "failed"] == [check]


def test_a_fault_late_in_the_watch_is_found_within_twenty_requests() -> None:
    """A process that bets from the first event on needs 1,500, after 20,000 good requests."""
    rollout = rollout_in(Stage.WATCH, 1)
    route, gateway = (
        route_for(rollout),
        Gateway({"1": Quality(), "2": FLAWLESS}, seed=1, per_second=2),
    )
    evidence = Evidence(stage=Stage.WATCH, cursors={}, generation=route.generation)
    for sent in range(20_000):
        fold(evidence, gateway.answer(route, START + timedelta(seconds=sent))[0], rollout, SPEC)
    gateway.qualities["2"] = Quality(errors=0.0, slow=1.0)
    taken = 0
    while judge(evidence, SPEC, rollout.baseline, ENOUGH).decision != "roll_back":
        fold(evidence, gateway.answer(route, START)[0], rollout, SPEC)
        taken += 1
    assert taken <= 20


def test_a_naive_test_stops_a_third_of_good_canaries_and_the_e_process_next_to_none() -> None:
    """This is the reason for e-processes.

    Both tests see the same events on two arms, and look after each event.
    """
    generator = np.random.default_rng(1)
    share, naive, sequential = 0.1, 0, 0
    for _ in range(1_000):
        on_challenger = generator.random(400) < share
        counts, sizes = np.cumsum(on_challenger), np.arange(1, 401)
        z = (counts - share * sizes) / np.sqrt(share * (1 - share) * sizes)
        naive += bool((z[20:] > 1.645).any())  # one-sided 5 %, from 20 events on
        test = EProcess()
        for event in on_challenger:
            test.observe(bool(event), probability_of_falling_on(share, 1.0))
            if test.e_value >= 20:
                sequential += 1
                break
    assert naive >= 250
    assert sequential <= 50
