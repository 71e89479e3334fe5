"""What the shop does about a flagged payment, and what that is worth."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from dojo.core.events.columns import frame_of
from dojo.core.lake import Lake
from dojo.shop.decisions import Mode, Policy, value_euro
from dojo.shop.events import DECISIONS, SETTLEMENTS, Action, Decision, Settlement
from dojo.shop.value import value_of_decisions

NOON = datetime(2025, 1, 6, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("mode", "is_fraud", "reviewed", "release", "review", "expected"),
    [
        ("decline", True, 0, 0.06, 0.5, "declined"),
        ("decline", True, 0, 0.05, 0.5, "released"),
        ("review", True, 59, 0.06, 0.5, "rejected"),
        ("review", False, 59, 0.06, 0.5, "approved"),
        ("review", True, 60, 0.06, 0.5, "declined"),
        ("review", True, 0, 0.06, 0.96, "approved"),  # the reviewer errs
        ("review", False, 0, 0.06, 0.96, "rejected"),
        ("review", False, 0, 0.01, 0.5, "released"),
    ],
)
def test_chance_releases_reviewers_look_and_the_rest_is_declined(
    mode: Mode, is_fraud: bool, reviewed: int, release: float, review: float, expected: Action
) -> None:
    policy = Policy(mode, reviews_per_day=60, release_share=0.05)
    assert policy.action(is_fraud, reviewed, release, review) == expected


@pytest.mark.parametrize(
    ("action", "is_fraud", "euro"),
    [
        ("declined", True, 115.0),  # the amount, and the bank's fee
        ("declined", False, -13.0),  # the margin, and a customer's annoyance
        ("rejected", True, 112.5),  # less five minutes of a person
        ("rejected", False, -15.5),
        ("approved", True, -2.5),
        ("approved", False, -2.5),
        ("released", True, 0.0),  # as without a model
        ("released", False, 0.0),
    ],
)
def test_a_decision_is_worth_what_differs_from_letting_the_payment_pass(
    action: Action, is_fraud: bool, euro: float
) -> None:
    assert value_euro(action, is_fraud, 100.0) == euro


def _lake(root: Path) -> Lake:
    """Return decisions of two versions, one a day, the last of each not settled yet."""
    lake = Lake(root)
    decisions, settlements = [], []
    for version, euros in (("1", (10.0, -4.0, 6.0, None)), ("2", (1.0, None))):
        for day, euro in enumerate(euros):
            time = NOON + timedelta(days=day)
            about = {
                "world_time": time,
                "wall_time": NOON,
                "model": "fraud_detection",
                "version": version,
                "arm": "champion",
                "request_id": f"{version}-{day}",
                "action": "declined" if day else "released",
            }
            decisions.append(
                Decision(event_id=f"d-{version}-{day}", amount=1.0, release_share=0.05, **about)
            )
            if euro is not None:
                about["world_time"] = time + timedelta(days=7)
                settlements.append(
                    Settlement(
                        event_id=f"s-{version}-{day}", request_time=time, value_euro=euro, **about
                    )
                )
    lake.write(DECISIONS, frame_of(DECISIONS, decisions), "part")
    lake.write(DECISIONS, frame_of(DECISIONS, decisions[:2]), "part-again")  # at least once
    lake.write(SETTLEMENTS, frame_of(SETTLEMENTS, settlements), "part")
    return lake


def test_the_worth_is_summed_by_version_over_settled_decisions(tmp_path: Path) -> None:
    lake = _lake(tmp_path)
    first, second = value_of_decisions(lake)
    assert (first.version, first.decided, first.settled, first.euro) == ("1", 4, 3, 12.0)
    assert first.actions == {"declined": 3, "released": 1}
    assert first.euro_per_day == 6.0, "three decisions, two days from the first to the last"
    assert (second.version, second.decided, second.settled, second.euro) == ("2", 2, 1, 1.0)
    assert second.euro_per_day is None, "one decision has no time"


def test_the_worth_is_of_the_asked_model_and_time(tmp_path: Path) -> None:
    lake = _lake(tmp_path)
    assert value_of_decisions(lake, "other") == []
    (late,) = value_of_decisions(lake, since=NOON + timedelta(days=2))
    assert (late.version, late.decided, late.euro) == ("1", 2, 6.0)
    early = value_of_decisions(lake, until=NOON + timedelta(days=1))
    assert [(one.decided, one.euro) for one in early] == [(1, 10.0), (1, 1.0)]


def test_the_parts_of_a_lists_worth_are_summed_and_count_as_one_decision(tmp_path: Path) -> None:
    lake = _lake(tmp_path)
    later = lake.scan(SETTLEMENTS).filter(request_id="1-0").collect()
    part = later.with_columns(event_id=pl.lit("another-product"), value_euro=pl.lit(-2.5))
    lake.write(SETTLEMENTS, part, "other-part")
    whole, _ = value_of_decisions(lake)
    assert (whole.decided, whole.settled, whole.euro) == (4, 3, 9.5)
    early, _ = value_of_decisions(lake, until=NOON + timedelta(days=1))
    assert (early.decided, early.settled, early.euro) == (1, 1, 7.5)
