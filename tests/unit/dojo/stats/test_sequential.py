"""The e-process: its promise under the null, its algebra, and the quantile for PSI."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dojo.stats.inference.sequential import (
    ODDS_RATIOS,
    PARTS,
    EProcess,
    RestartingEProcess,
    probability_of_falling_on,
)

observations = st.lists(st.tuples(st.booleans(), st.floats(0.01, 0.99)), max_size=60)


def restarting(seen: list[tuple[bool, float]]) -> RestartingEProcess:
    process = RestartingEProcess()
    for success, null in seen:
        process.observe(success, null)
    return process


def process_of(seen: list[tuple[bool, float]]) -> EProcess:
    process = EProcess()
    for success, null in seen:
        process.observe(success, null)
    return process


@given(st.floats(0.001, 0.999), st.floats(0, 1))
def test_no_single_observation_pays_under_any_rate_that_the_null_allows(
    null: float, part: float
) -> None:
    rate = part * null
    won, lost = process_of([(True, null)]).e_value, process_of([(False, null)]).e_value
    assert rate * won + (1 - rate) * lost <= 1 + 1e-9
    assert null * won + (1 - null) * lost == pytest.approx(1)


@given(observations, observations)
def test_two_halves_merge_into_the_whole_in_any_order(
    first: list[tuple[bool, float]], second: list[tuple[bool, float]]
) -> None:
    whole = process_of(first + second)
    for merged in (
        process_of(first).merged(process_of(second)),
        process_of(second).merged(process_of(first)),
    ):
        assert merged.e_value == pytest.approx(whole.e_value)
        assert (merged.observations, merged.successes) == (whole.observations, whole.successes)


@given(observations)
def test_it_survives_being_stored(seen: list[tuple[bool, float]]) -> None:
    process = process_of(seen)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(process), type=EProcess) == process


@given(observations)
def test_it_is_the_mean_of_likelihood_ratios(seen: list[tuple[bool, float]]) -> None:
    """Compare with the definition, computed another way."""
    expected = 0.0
    for odds, part in zip(ODDS_RATIOS, PARTS, strict=True):
        product = 1.0
        for success, null in seen:
            alternative = odds * null / (1 - null) / (1 + odds * null / (1 - null))
            product *= alternative / null if success else (1 - alternative) / (1 - null)
        expected += part * product
    assert process_of(seen).e_value == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("null", [0.0, 1.0, -0.1, 1.1, math.nan])
def test_a_null_that_is_no_probability_is_refused(null: float) -> None:
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        EProcess().observe(True, null)


def test_overwhelming_evidence_is_still_a_number() -> None:
    process = process_of([(True, 0.01)] * 5_000)
    assert process.e_value > 1e300
    assert math.isfinite(process.e_value)


@pytest.mark.parametrize(("null", "alpha"), [(0.1, 0.05), (0.1, 0.02), (0.01, 0.05), (0.5, 0.05)])
def test_at_the_limit_it_ever_alarms_with_at_most_the_stated_probability(
    null: float, alpha: float
) -> None:
    """2,000 seeded streams at the null's edge, looked at after every observation."""
    generator, alarms, runs = np.random.default_rng(3), 0, 2_000
    for _ in range(runs):
        hits = generator.random(1_500) < null
        ratios = np.array(ODDS_RATIOS)[:, None]
        scale = 1 - null + ratios * null
        logs = np.where(hits, np.log(ratios / scale), -np.log(scale)).cumsum(axis=1)
        alarms += bool(
            (
                np.logaddexp.reduce(logs + np.log(PARTS)[:, None], axis=0) >= math.log(1 / alpha)
            ).any()
        )
    assert alarms <= runs * alpha


@given(st.floats(0.01, 0.99), st.floats(0.1, 10))
def test_an_events_place_follows_from_the_arms_rates(share: float, ratio: float) -> None:
    """With rates r and 1 per request, the first arm has a share of the events.

    It is share * r of every share * r + (1 - share) events.
    """
    on_first = probability_of_falling_on(share, ratio)
    on_second = probability_of_falling_on(1 - share, 1 / ratio)
    assert on_first + on_second == pytest.approx(1)
    assert probability_of_falling_on(share, 1.0) == pytest.approx(share)


@given(observations)
def test_a_restarting_process_is_the_stakes_bet_at_each_start_and_what_still_waits(
    seen: list[tuple[bool, float]],
) -> None:
    """Compare with the definition: one ordinary process from each start on, times its stake."""
    waiting = [0.5 / (1 + math.log2(n)) if n else 0.5 for n in range(len(seen) + 1)]
    expected = 0.5 * process_of(seen).e_value + waiting[len(seen)]
    for start in range(1, len(seen)):
        expected += (waiting[start] - waiting[start + 1]) * process_of(seen[start:]).e_value
    assert restarting(seen).e_value == pytest.approx(expected, rel=1e-6)


def test_restarting_at_the_limit_it_ever_alarms_with_at_most_the_stated_probability() -> None:
    generator, runs = np.random.default_rng(4), 600
    alarms = 0
    for _ in range(runs):
        process = RestartingEProcess()
        for hit in generator.random(1_500) < 0.1:
            process.observe(bool(hit), 0.1)
            if process.e_value >= 20:
                alarms += 1
                break
    assert alarms <= 0.05 * runs


@pytest.mark.parametrize("good", [0, 2_000, 20_000])
def test_a_sudden_fault_is_seen_as_soon_after_two_good_days_as_in_the_first_minute(
    good: int,
) -> None:
    process = RestartingEProcess()
    for _ in range(good):
        process.observe(False, 0.05)
    taken = 0
    while process.e_value < 400:
        process.observe(True, 0.05)
        taken += 1
    assert taken <= 12
