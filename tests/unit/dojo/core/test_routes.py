"""Assignment to arms: shares, stickiness, growth, independence.

Routes that cannot serve are refused.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

from dojo.core.state.routes import (
    CHALLENGER_ARM,
    CHAMPION_ARM,
    Arm,
    InvalidRouteError,
    Mode,
    Route,
    Strategy,
    pick,
    position,
)

KEYS = [f"customer-{n}" for n in range(20_000)]


def arms(*weights: float) -> tuple[Arm, ...]:
    return tuple(Arm(f"arm{at}", str(at), weight) for at, weight in enumerate(weights))


def route(*of: Arm, strategy: Strategy = "canary") -> Route:
    return Route(
        model="m",
        generation=1,
        strategy=strategy,
        arms=of,
        salt="s",
        changed_at=datetime(2018, 6, 1, tzinfo=UTC),
        who="tests",
        why="a test",
    )


@pytest.mark.parametrize("salt", ["", "rollout-1", "x" * 200, "Überraschung"])
def test_positions_are_uniform(salt: str) -> None:
    assert kstest([position(salt, key) for key in KEYS], "uniform").pvalue > 1e-4


@pytest.mark.parametrize("weights", [(0.9, 0.1), (0.5, 0.5), (0.2, 0.3, 0.5), (0.0, 0.7, 0.3)])
def test_the_split_is_the_weights(weights: tuple[float, ...]) -> None:
    of = arms(*weights)
    counts = Counter(pick(of, position("salt", key)).name for key in KEYS)
    expected = {arm.name: arm.weight * len(KEYS) for arm in of if arm.weight}
    assert set(counts) == set(expected)
    assert chisquare([counts[name] for name in expected], list(expected.values())).pvalue > 1e-4


@pytest.mark.parametrize(
    ("weights", "everybody"), [((1.0, 0.0), "arm0"), ((0.0, 1.0), "arm1"), ((1.0,), "arm0")]
)
def test_a_whole_weight_gets_everybody(weights: tuple[float, ...], everybody: str) -> None:
    assert {pick(arms(*weights), position("salt", key)).name for key in KEYS} == {everybody}


def test_two_salts_split_independently() -> None:
    of = arms(0.5, 0.5)
    both = Counter(
        (pick(of, position("a", key)).name, pick(of, position("b", key)).name) for key in KEYS
    )
    assert chisquare(list(both.values())).pvalue > 1e-4


@given(st.floats(0, 1), st.floats(0, 1), st.text(), st.text())
@settings(max_examples=300)
def test_a_growing_challenger_keeps_its_entities(
    one: float, other: float, salt: str, key: str
) -> None:
    small, large = sorted((one, other))
    at = position(salt, key)
    if (
        pick((Arm(CHAMPION_ARM, "1", 1 - small), Arm(CHALLENGER_ARM, "2", small)), at).name
        == CHALLENGER_ARM
    ):
        assert (
            pick((Arm(CHAMPION_ARM, "1", 1 - large), Arm(CHALLENGER_ARM, "2", large)), at).name
            == CHALLENGER_ARM
        )


@given(st.floats(0, 1, exclude_max=True))
def test_shadows_and_standbys_get_no_live_traffic(at: float) -> None:
    assert (
        pick(
            (
                Arm("champion", "1", 1.0),
                Arm("standby", "2", 0.0),
                Arm("challenger", "3", 0.0, "shadow"),
            ),
            at,
        ).name
        == "champion"
    )


def test_the_last_bit_of_rounding_goes_to_the_first_arm() -> None:
    thirds = arms(1 / 3, 1 / 3, 1 / 3)
    assert pick(thirds, 1 - 2**-53).name == "arm0"


@pytest.mark.parametrize(
    ("of", "wrong"),
    [
        ((), "first arm must be live"),
        ((Arm("a", "1", 0.0, "shadow"), Arm("b", "2", 1.0)), "first arm must be live"),
        ((Arm("a", "1", 0.5), Arm("a", "2", 0.5)), "differ in name"),
        ((Arm("a", "1", 0.5), Arm("b", "1", 0.5)), "differ in name and version"),
        ((Arm("a", "1", 0.5), Arm("b", "2", 0.4)), "add up to 1"),
        ((Arm("a", "1", 1.5), Arm("b", "2", -0.5)), "fractions"),
        ((Arm("a", "1", 1.0), Arm("b", "2", 0.1, "shadow")), "no weight"),
        (
            (Arm("a", "1", 1.0), Arm("b", "2", 0.0, "shadow"), Arm("c", "3", 0.0, "shadow")),
            "at most one",
        ),
    ],
)
def test_a_route_that_cannot_serve_is_refused(of: tuple[Arm, ...], wrong: str) -> None:
    with pytest.raises(InvalidRouteError, match=wrong):
        route(*of)


@pytest.mark.parametrize("mode", ["live", "shadow"])
def test_the_primary_is_the_live_arm_with_the_most_traffic(mode: Mode) -> None:
    other = 0.6 if mode == "live" else 0.0
    made = route(Arm("a", "1", 1 - other), Arm("b", "2", other, mode))
    assert made.primary.name == ("b" if mode == "live" else "a")


def test_long_salts_differ_by_their_ends_too() -> None:
    """A rollout's id begins with the model's name, up to 64 characters.

    Its end separates it from the last rollout's id.
    """
    assert position("m" * 64 + "-2-20300301", "c1") != position("m" * 64 + "-3-20300308", "c1")


def test_positions_never_change() -> None:
    """They are part of the contract.

    Other numbers would move every customer of a running experiment to another arm.
    """
    assert position("salt", "customer-1") == pytest.approx(0.0397399626, abs=1e-9)
    assert position("", "") == pytest.approx(0.8931675161, abs=1e-9)
