"""The words of a diagnosis are closed, and near ones earn a part."""

from __future__ import annotations

from itertools import product

import pytest

from dojo.drills.taxonomy import COMPONENTS, MECHANISMS, are_siblings, hops


@pytest.mark.parametrize(
    ("first", "second", "away"),
    [
        ("recorder", "recorder", 0),
        ("recorder", "stray_process", 1),
        ("stray_process", "recorder", 1),
        ("gateway", "streamer", 2),  # by way of the online store, or the event log
        ("caller", "online_store", 2),
    ],
)
def test_distance_counts_the_links_between_components(first: str, second: str, away: int) -> None:
    assert hops(first, second) == away


def test_the_distance_is_the_same_both_ways_and_every_component_is_linked() -> None:
    for first, second in product(COMPONENTS, repeat=2):
        away = hops(first, second)
        assert away is not None, f"no way from {first} to {second}"
        assert away == hops(second, first)
        assert (away == 0) == (first == second)


def test_siblings_are_of_one_family() -> None:
    assert are_siblings("lock", "slow_dependency")
    assert not are_siblings("lock", "bad_model")
    assert all(are_siblings(one, one) for one in MECHANISMS)


def test_an_unknown_word_is_an_error() -> None:
    with pytest.raises(KeyError):
        hops("recorder", "kitchen")
    with pytest.raises(KeyError):
        hops("kitchen", "recorder")
    with pytest.raises(KeyError):
        are_siblings("lock", "bad_luck")
