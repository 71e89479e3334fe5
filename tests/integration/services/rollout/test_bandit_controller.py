"""Bandits on a real Redis. No test here needs MLflow: shares move without it."""

from __future__ import annotations

import random
from collections import Counter
from datetime import timedelta
from math import sqrt

import msgspec
import pytest

from dojo.core.connections import connect_redis
from dojo.core.events.types import Outcome
from dojo.core.state.audit import Entry
from dojo.core.state.bandits import Bandit
from dojo.core.state.loss import RedisLoss, loss_document
from dojo.core.state.routes import CHAMPION_ARM, Arm
from tests.support.bandits import (
    BROKEN,
    HALF_HOUR,
    POOR,
    RICH,
    BanditWorld,
    spec_with,
)
from tests.support.doomed import Fate, KilledError, doomed_redis
from tests.support.rollout_events import Quality
from tests.support.servers import RedisServer

pytestmark = pytest.mark.integration


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    return redis_server.url


def live(world: BanditWorld, rounds: int, visits: int = 400) -> None:
    """Let visitors come, a round per update."""
    controller = world.controller()
    for _ in range(rounds):
        controller.step(world.model)
        world.visits(visits)
        world.pass_time(HALF_HOUR)
    controller.step(world.model)


def make(url: str, qualities: dict[str, Quality], **more: object) -> BanditWorld:
    world = BanditWorld(connect_redis(url), qualities, **more)  # type: ignore[arg-type]
    world.start()
    world.controller().step(world.model)
    return world


@pytest.mark.parametrize("policy", ["thompson", "epsilon_greedy"])
def test_the_better_version_gets_the_traffic_within_the_limits(redis_url: str, policy: str) -> None:
    world = make(redis_url, {"1": POOR, "2": RICH}, policy=policy)
    shares, first = [], world.now.shares
    for _ in range(9):
        live(world, 1)
        shares.append(world.now.shares)
    limits = world.spec.bandit
    assert limits is not None
    assert first == (0.575, 0.425)  # equal parts of what the floors leave
    assert max(abs(b[1] - a[1]) for a, b in zip([first, *shares], shares, strict=False)) <= (
        limits.largest_step + 1e-9
    )
    floored = 0.80 if policy == "thompson" else 0.05 + 0.75 * 0.95
    assert shares[-1][1] == pytest.approx(floored, abs=0.01)
    assert world.now.states[1].low > world.now.states[0].high  # type: ignore[operator]

    recent = world.predictions[-400:]
    arms, share = Counter(p.arm for p in recent), shares[-2][1]
    sigma = sqrt(share * (1 - share) * len(recent))
    assert abs(arms["challenger"] - share * len(recent)) < 4 * sigma
    assert {p.propensity for p in recent} == set(shares[-2])

    routes = [entry for entry in world.audit.entries() if entry.kind == "route"]
    assert len(routes) < world.route.generation  # small steps are only in the generations
    assert "answers" in routes[-1].why
    assert world.audit.verify().faults == ()


def test_pending_answers_are_no_zeros_and_early_clicks_do_not_count_alone(redis_url: str) -> None:
    world = make(redis_url, {"1": POOR, "2": RICH})
    controller = world.controller()
    world.visits(400)
    world.pass_time(timedelta(minutes=50))
    world.visits(400)
    world.pass_time(timedelta(minutes=10))  # their clicks are known, and no missing click
    controller.step(world.model)
    states = world.now.states
    assert sum(state.rewarded for state in states) == 400
    assert sum(state.pending for state in states) == 400
    flagged = [p for p in world.predictions[:400] if p.flagged and p.arm == "challenger"]
    clicks = {o.request_id for o in world.outcomes}  # not known yet, of the second half
    assert not clicks & {p.request_id for p in flagged}
    earned = states[1].earned
    assert earned == pytest.approx(
        sum(0.40 if known(world, p.request_id) else -0.02 for p in flagged)
    )

    world.visits(100, label=lambda _: None)  # their labels never come
    world.pass_time(timedelta(hours=26))
    controller.step(world.model)
    assert sum(state.unlabelled for state in world.now.states) == 100
    assert sum(state.rewarded for state in world.now.states) == 800


def known(world: BanditWorld, request_id: str) -> float:
    labels = [
        event.label
        for delivery in world.log.tail("outcomes", "0-0", 10_000)
        if (event := msgspec.json.decode(delivery.payload, type=Outcome)).request_id == request_id
    ]
    assert labels[-1] is not None
    return labels[-1]


def test_a_correction_replaces_its_reward(redis_url: str) -> None:
    world = make(redis_url, {"1": RICH, "2": RICH})
    controller = world.controller()
    world.visits(200, label=lambda answer: 0.0)
    outcomes = list(world.outcomes)
    world.pass_time(2 * HALF_HOUR)
    controller.step(world.model)
    flagged = {p.request_id for p in world.predictions if p.flagged}
    assert sum(s.earned for s in world.now.states) == pytest.approx(-0.02 * len(flagged))
    corrected = [o for o in outcomes if o.request_id in flagged]
    at = world.clock.now() + timedelta(minutes=1)
    world.log.append([msgspec.structs.replace(o, label=1.0, world_time=at) for o in corrected])
    world.pass_time(HALF_HOUR)
    controller.step(world.model)
    assert sum(s.earned for s in world.now.states) == pytest.approx(0.40 * len(flagged))
    assert sum(s.rewarded for s in world.now.states) == 200


def test_a_killed_controller_forgets_no_reward_and_counts_none_twice(redis_url: str) -> None:
    def life(deaths: random.Random | None) -> tuple[Bandit, list[object], int]:
        connect_redis(redis_url).flushdb()
        world = BanditWorld(connect_redis(redis_url), {"1": POOR, "2": RICH})
        world.start()
        kills = 0
        for _ in range(6):
            for _ in range(50):
                fate = Fate(deaths.randrange(4) if deaths else 10**6)
                doomed = doomed_redis(redis_url, fate)
                try:
                    controller = world.controller(doomed)
                    controller.step(world.model)
                    controller.step(world.model)
                    break
                except KilledError:
                    kills += 1
                finally:
                    doomed.close()
            world.visits(150)
            world.pass_time(HALF_HOUR)
        world.pass_time(HALF_HOUR)
        world.controller().step(world.model)
        evidence = world.evidence()
        return world.now, [evidence.rewards, evidence.answers, evidence.guards[0].tests], kills

    calm, learnt, none = life(None)
    killed, learnt_too, kills = life(random.Random(5))
    assert (none, kills > 5) == (0, True)
    assert sum(state.rewarded for state in calm.states) == 900
    assert learnt == learnt_too
    assert (killed.shares, killed.states, killed.updates) == (
        calm.shares,
        calm.states,
        calm.updates,
    )


def test_a_broken_version_loses_its_traffic_at_once(redis_url: str) -> None:
    world = make(redis_url, {"1": POOR, "2": BROKEN, "3": RICH})
    controller = world.controller()
    for _ in range(20):
        world.visits(50)
        world.pass_time(timedelta(seconds=30))
        controller.step(world.model)
        if world.now.closed:
            break
    assert world.now.closed.keys() == {"challenger"}  # ten minutes: no reward is known yet
    assert [arm.weight > 0 for arm in world.route.arms] == [True, False, True]
    assert {p.arm for p in world.visits(100)} == {"champion", "third"}
    (cut,) = [e for e in world.audit.entries() if e.kind == "bandit" and "lost" in e.what]
    assert "errors" in cut.why
    assert [m.urgency for m in world.inbox.newest(10)] == ["page"]
    live(world, 3)  # and it never comes back
    assert world.route.arms[1].weight == 0
    assert sum(arm.weight for arm in world.route.arms) == pytest.approx(1)


def test_people_have_the_last_word(redis_url: str) -> None:
    world = make(redis_url, {"1": POOR, "2": RICH})
    live(world, 1)
    before = world.now
    world.bandits.change(
        world.model,
        lambda bandit: msgspec.structs.replace(bandit, paused_by="kim"),
        entry(world, "pause"),
    )
    live(world, 2)
    assert world.now.shares == before.shares
    assert world.now.states[0].rewarded > before.states[0].rewarded  # it goes on counting

    found = world.routes.read(world.model)
    arms = (Arm(CHAMPION_ARM, "1", 1.0),)
    theirs = msgspec.structs.replace(
        world.route,
        generation=world.route.generation + 1,
        strategy="champion",
        arms=arms,
        who="kim",
        why="enough",
    )
    world.routes.replace(found, theirs)
    controller = world.controller()
    controller.step(world.model)
    controller.step(world.model)
    assert (world.now.active, "kim" in world.now.ended_why) == (False, True)
    assert world.route == theirs


def test_a_stopped_bandit_leaves_all_traffic_to_the_champion(redis_url: str) -> None:
    world = make(redis_url, {"1": POOR, "2": RICH})
    now = world.clock.now()
    world.bandits.change(
        world.model,
        lambda bandit: msgspec.structs.replace(bandit, ended=now, ended_why="enough"),
        entry(world, "stop"),
    )
    world.controller().step(world.model)  # as after a kill of the command
    assert (world.route.strategy, world.route.arms) == ("champion", (Arm(CHAMPION_ARM, "1", 1.0),))


def test_shares_stay_while_state_is_lost(redis_url: str) -> None:
    world = make(redis_url, {"1": POOR, "2": RICH})
    live(world, 1)
    before, now = world.now.shares, world.clock.now()
    loss = RedisLoss(lost=("the route",), seen=now, found=now, entry_id="loss")
    loss_document(world.redis).put(loss)
    live(world, 2)
    assert world.now.shares == before


def test_a_contextual_choice_can_be_repeated_from_its_event(redis_url: str) -> None:
    """Version 2 is for customers who spend much, and version 1 for the others."""

    def amounts(number: int) -> dict[str, float]:
        amount = 75.0 if number % 2 else 15.0
        return {"customer_amount_mean_30d": amount, "customer_click_rate_30d": 0.04}

    world = make(
        redis_url,
        {"1": RICH, "2": RICH},
        policy="linear",
        spec=spec_with(minimum_rewards=300, audited_step=1.0),  # no step is worth an audit entry
        features=amounts,
    )
    controller = world.controller()
    for _ in range(6):
        controller.step(world.model)
        world.visits(
            400,
            label=lambda answer: float(
                (answer.arm == "challenger") == (answer.features["customer_amount_mean_30d"] > 30)
            ),
        )
        world.pass_time(HALF_HOUR)
    controller.step(world.model)

    recorded = {
        entry.after["generation"]: msgspec.convert(entry.after, type(world.route))
        for entry in world.audit.entries()
        if entry.kind == "route"
    }
    drawn = [route for route in recorded.values() if route.draw.context is not None]
    assert len(drawn) == 1, "one set of coefficients a world day"
    late = [p for p in world.predictions if recorded[p.route_generation].draw.context is not None]
    assert len(late) >= 400
    for event in late:
        route = recorded[event.route_generation]
        place = route.drawn_for(event.entity_keys["customer"], event.request_id)
        arm, propensity = route.at(place, event.features)
        assert (arm.name, propensity) == (event.arm, event.propensity)
    last = [p for p in late if p.route_generation == late[-1].route_generation]
    fitting = [
        (p.arm == "challenger") == (p.features["customer_amount_mean_30d"] > 30) for p in last
    ]
    assert sum(fitting) / len(fitting) > 0.8


def entry(world: BanditWorld, name: str) -> Entry:
    return Entry(entry_id=name, kind="bandit", model=world.model, who="kim", what=name, why=name)
