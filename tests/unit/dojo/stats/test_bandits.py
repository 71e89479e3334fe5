"""Shares against closed forms, and regret on a known problem."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dojo.stats.inference.bandits import (
    ArmRewards,
    above_floors,
    epsilon_greedy_shares,
    posterior,
    step_towards,
    thompson_shares,
)
from dojo.stats.inference.linear_bandits import LinearRewards, best_shares, coefficient_draws


def arm(clicks: int, answers: int, propensity: float = 1.0) -> ArmRewards:
    rewards = ArmRewards()
    rewards.add(1.0, propensity, clicks)
    rewards.add(0.0, propensity, answers - clicks)
    return rewards


def test_the_posterior_of_many_rewards_is_the_mean_with_its_standard_error() -> None:
    means, errors = posterior([arm(50, 1000), arm(70, 1000)])
    assert means == pytest.approx([0.05, 0.07], abs=2e-5)
    pooled = 0.06 * 0.94
    assert errors == pytest.approx(np.sqrt([pooled / 1000] * 2), rel=1e-3)


def test_a_share_is_the_probability_of_being_best() -> None:
    means, errors = np.array([0.05, 0.07]), np.array([0.01, 0.02])
    exact = NormalDist().cdf(0.02 / np.hypot(*errors))
    assert thompson_shares(means, errors, seed=1)[1] == pytest.approx(exact, abs=0.015)
    assert (thompson_shares(means, errors, 1) == thompson_shares(means, errors, 1)).all()


def test_without_rewards_all_arms_are_equal() -> None:
    means, errors = posterior([ArmRewards(), ArmRewards(), ArmRewards()])
    assert thompson_shares(means, errors, 1).tolist() == [1 / 3] * 3
    assert epsilon_greedy_shares(means, 0.1).tolist() == [1 / 3] * 3
    zeros = posterior([arm(0, 500), arm(0, 20)])
    assert thompson_shares(*zeros, seed=1).tolist() == [0.5, 0.5]


def test_an_arm_without_rewards_keeps_a_chance() -> None:
    means, errors = posterior([arm(50, 1000), ArmRewards()])
    assert thompson_shares(means, errors, seed=1)[1] > 0.3
    assert means[1] == pytest.approx(0.05), "the common mean stands in"
    assert errors[1] > 10 * errors[0]


def test_epsilon_greedy_spreads_its_epsilon() -> None:
    shares = epsilon_greedy_shares(np.array([0.1, 0.3, 0.2, 0.0]), 0.2)
    assert shares.tolist() == pytest.approx([0.05, 0.85, 0.05, 0.05])


def test_the_mean_is_unbiased_where_shares_followed_the_hour() -> None:
    """Both arms are equal. The second had its traffic in the good hour, the first in the bad."""
    first, second = ArmRewards(), ArmRewards()
    for rate, share in ((0.02, 0.2), (0.08, 0.8)):
        for one, propensity in ((first, 1 - share), (second, share)):
            answers = round(10_000 * propensity)
            one.add(1.0, propensity, round(answers * rate))
            one.add(0.0, propensity, answers - round(answers * rate))
    assert first.earned / first.answers == pytest.approx(0.032)  # what plain means would say
    assert second.earned / second.answers == pytest.approx(0.068)
    assert first.mean == pytest.approx(0.05)
    assert second.mean == pytest.approx(0.05)
    assert first.effective < first.answers


def test_a_reward_can_be_taken_back() -> None:
    one = arm(3, 10, 0.5)
    one.add(5.0, 0.25)
    one.add(5.0, 0.25, -1)
    assert one == arm(3, 10, 0.5)
    with pytest.raises(ValueError, match="propensity"):
        one.add(1.0, 0.0)


shares_of_three = st.lists(st.floats(0.001, 1), min_size=3, max_size=3).map(
    lambda parts: np.array(parts) / sum(parts)
)


@given(shares_of_three, shares_of_three, st.floats(0.01, 0.5))
def test_limits_hold_for_any_shares(now: np.ndarray, wanted: np.ndarray, largest: float) -> None:
    floors = np.array([0.2, 0.05, 0.05])
    current = above_floors(now, floors)
    after = step_towards(current, above_floors(wanted, floors), largest)
    assert after.sum() == pytest.approx(1)
    assert (after >= floors - 1e-9).all()
    assert np.abs(after - current).max() <= largest + 1e-9


def test_floors_beyond_all_traffic_are_refused() -> None:
    with pytest.raises(ValueError, match="floors"):
        above_floors(np.array([0.5, 0.5]), np.array([0.6, 0.5]))


@pytest.mark.parametrize("policy", ["thompson", "epsilon"])
def test_regret_grows_slower_than_that_of_equal_shares(policy: str) -> None:
    """Four known arms, 200 batches of 100 visits. Equal shares lose 0.015 a visit for ever."""
    truth = np.array([0.04, 0.05, 0.06, 0.07])
    random = np.random.default_rng(3)
    halves = []
    for seed in range(5):
        arms, shares, regret = [ArmRewards() for _ in truth], np.full(4, 0.25), []
        for batch in range(200):
            shown = random.multinomial(100, shares)
            for one, count, rate, share in zip(arms, shown, truth, shares, strict=True):
                clicks = random.binomial(count, rate)
                one.add(1.0, share, clicks)
                one.add(0.0, share, count - clicks)
            regret.append(float(shown @ (0.07 - truth)))
            means, errors = posterior(arms)
            wanted = (
                thompson_shares(means, errors, seed * 1000 + batch, 500)
                if policy == "thompson"
                else epsilon_greedy_shares(means, 0.1)
            )
            shares = above_floors(wanted, np.full(4, 0.02))
        halves.append((sum(regret[:100]), sum(regret[100:])))
    early, late = np.mean(halves, axis=0)
    assert early + late < 0.7 * 0.015 * 20_000
    assert late < 0.7 * early


def test_a_linear_arm_finds_its_coefficients() -> None:
    random = np.random.default_rng(1)
    arms = [LinearRewards.empty(2), LinearRewards.empty(2)]
    for _ in range(3000):
        x = random.normal()
        for one, (base, slope) in zip(arms, ((0.5, -0.2), (0.4, 0.3)), strict=True):
            one.add((1.0, x), base + slope * x + random.normal(0, 0.1))
    draws = coefficient_draws(arms, seed=1)
    assert draws.mean(axis=0) == pytest.approx(np.array([[0.5, -0.2], [0.4, 0.3]]), abs=0.01)
    assert draws.std(axis=0) == pytest.approx(0.1 / np.sqrt(3000), rel=0.4)
    shares = best_shares(draws, np.array([[1.0, -2.0], [1.0, 2.0]]))
    assert shares == pytest.approx(np.array([[1.0, 0.0], [0.0, 1.0]]))


def test_linear_arms_without_rewards_share_every_draw() -> None:
    draws = coefficient_draws([LinearRewards.empty(2), LinearRewards.empty(2)], seed=1)
    assert best_shares(draws, np.array([[1.0, 3.0]])).tolist() == [[0.5, 0.5]]
