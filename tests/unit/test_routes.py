"""Routes: what cannot serve is refused, and entities fall on arms exactly, the same for ever, and independently between experiments."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dojo.routes import Arm, InvalidRouteError, Route, decode_route, pick, position

NOON = datetime(2030, 3, 1, 12, tzinfo=UTC)


def route(*arms: Arm, **more: Any) -> Route:
    given: dict[str, Any] = {"model": "fraud", "generation": 1, "strategy": "ab", "salt": "s", "changed_at": NOON}
    return Route(arms=arms, **{**given, "who": "Zoë", "why": "to see", **more})


def split(weight: float) -> tuple[Arm, Arm]:
    return Arm("champion", "1", 1 - weight), Arm("challenger", "2", weight)


@given(st.floats(0, 1, exclude_max=True), st.floats(0, 1))
def test_every_position_has_exactly_one_live_arm(at: float, weight: float) -> None:
    assert pick(split(weight), at).name == ("challenger" if at < weight else "champion")


@given(st.floats(0, 1, exclude_max=True), st.floats(0, 1), st.floats(0, 1))
def test_a_challenger_keeps_its_entities_while_its_share_grows(at: float, one: float, other: float) -> None:
    small, large = sorted((one, other))
    if pick(split(small), at).name == "challenger":
        assert pick(split(large), at).name == "challenger"


def test_shadows_and_a_warm_standby_are_nobodys_arm() -> None:
    for arms in (
        (Arm("champion", "1", 1.0), Arm("challenger", "2", 0.0, "shadow")),
        (Arm("champion", "1", 1.0), Arm("standby", "2", 0.0)),
    ):
        assert {pick(arms, at).name for at in (0.0, 0.5, 0.9999999999999999)} == {"champion"}


@pytest.mark.parametrize("weight", [0.1, 0.5, 0.01])
def test_the_split_over_many_entities_is_exact(weight: float) -> None:
    """Chi-square over 100,000 keys as they are used; p < 0.001 would be a wrong split, and the keys are fixed."""
    counts = Counter(pick(split(weight), position("rollout-7", f"c{number}")).name for number in range(100_000))
    found = [counts["challenger"], counts["champion"]]
    assert stats.chisquare(found, [100_000 * weight, 100_000 * (1 - weight)]).pvalue > 0.001


@pytest.mark.parametrize("salt", ["", "fraud", "fraud-2-20300301T120000"])
def test_positions_are_uniform_also_over_keys_that_differ_little(salt: str) -> None:
    at = np.array([position(salt, str(number)) for number in range(100_000)])
    assert stats.kstest(at, "uniform").pvalue > 0.001
    assert (at.min() >= 0, at.max() < 1) == (True, True)


def test_another_salt_is_another_draw() -> None:
    """Who was in the last experiment's challenger says nothing about the next one's."""
    one = [position("first", f"c{number}") for number in range(20_000)]
    two = [position("second", f"c{number}") for number in range(20_000)]
    assert abs(stats.spearmanr(one, two).statistic) < 4 / 20_000**0.5
    both = sum(a < 0.1 and b < 0.1 for a, b in zip(one, two, strict=True))
    assert stats.binomtest(both, 20_000, 0.01).pvalue > 0.001


def test_long_salts_differ_by_their_ends_too() -> None:
    """A rollout's id begins with the model's name, which may be 64 characters long, and ends with what tells it from the last one."""
    assert position("m" * 64 + "-2-20300301", "c1") != position("m" * 64 + "-3-20300308", "c1")


def test_positions_never_change() -> None:
    """They are part of the contract: other numbers would move every customer of a running experiment to another arm."""
    assert position("salt", "customer-1") == pytest.approx(0.0397399626, abs=1e-9)
    assert position("", "") == pytest.approx(0.8931675161, abs=1e-9)


def test_a_route_reads_back_as_it_was_written() -> None:
    one = route(*split(0.25), Arm("other", "3", 0.0, "shadow"))
    assert decode_route(msgspec.json.encode(one)) == one
    assert (one.primary.name, one.arm("other"), one.arm("nobody")) == ("champion", one.arms[2], None)


@pytest.mark.parametrize(
    ("arms", "fault"),
    [
        ((), "the first arm must be live"),
        ((Arm("champion", "1", 0.0, "shadow"),), "the first arm must be live"),
        ((Arm("shadow", "2", 0.0, "shadow"), Arm("champion", "1", 1.0)), "the first arm must be live"),
        ((Arm("champion", "1", 0.5), Arm("champion", "2", 0.5)), "differ in name and version"),
        ((Arm("champion", "1", 0.5), Arm("challenger", "1", 0.5)), "differ in name and version"),
        (split(0.5)[:1], "add up to 1"),
        ((Arm("champion", "1", 1.5), Arm("challenger", "2", -0.5)), "add up to 1"),
        ((Arm("champion", "1", float("nan")),), "add up to 1"),
        ((Arm("champion", "1", 1.0), Arm("challenger", "2", 0.1, "shadow")), "no weight"),
        (
            (Arm("champion", "1", 1.0), Arm("a", "2", 0.0, "shadow"), Arm("b", "3", 0.0, "shadow")),
            "at most one arm may be a shadow",
        ),
    ],
)
def test_a_route_that_cannot_serve_is_refused(arms: tuple[Arm, ...], fault: str) -> None:
    with pytest.raises(InvalidRouteError, match=fault):
        route(*arms)
