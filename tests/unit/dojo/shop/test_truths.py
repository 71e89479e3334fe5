"""A label's meaning for each kind of event, also at the edges."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from dojo.core.settings import ALL_MODELS
from dojo.core.tasks.ranking.spec import RankingSpec
from dojo.core.tasks.specs import load_specs
from dojo.shop.events import TRANSACTIONS
from dojo.shop.truths import TRUTHS, truth

PAYMENTS = pl.DataFrame(
    {
        "amount": [0.01, 9.99, 10.0, 29.99, 30.0, 99.99, 100.0, 5000.0],
        "label": pl.Series([0, 1, 0, 0, 1, 0, 0, 1], dtype=pl.Int8),
    }
)
# What the world makes of an order and of a banner.
ORDERED = pl.DataFrame(
    {
        "delivery_days": [0.5, 14.0],
        "returned": pl.Series([0, 1], dtype=pl.Int8),
        "settled_days": [30.0, 9.5],
        "usual_days": [0.6, 9.0],
        "return_chance": [0.02, 0.4],
    }
)
SHOWN = pl.DataFrame(
    {
        "clicked": pl.Series([1, 0], dtype=pl.Int8),
        "known_days": [0.001, 0.02],
        "click_chance": [0.3, 0.02],
    }
)
MEMBERS = pl.DataFrame(
    {
        "cancelled": pl.Series([1, 0], dtype=pl.Int8),
        "decided_days": [12.5, 30.0],
        "cancel_chance": [0.4, 0.1],
        "spent_30d": [0.0, 1234.56],
        "counted_days": [30.5, 30.2],
        "usual_spend": [10.0, 900.0],
    }
)
ON_CREDIT = pl.DataFrame(
    {
        "defaulted": pl.Series([0, 1], dtype=pl.Int8),
        "repaid_days": [12.0, 60.0],
        "default_chance": [0.03, 0.2],
    }
)
# The first one is clicked up to its position, the second one above it.
IN_A_LIST = pl.DataFrame(
    {
        "position": pl.Series([3, 3], dtype=pl.Int8),
        "seen_until": pl.Series([3, 2], dtype=pl.Int8),
        "grade": pl.Series([2, 1], dtype=pl.Int8),
        "known_days": [0.002, 0.02],
        "relevance": [0.5, 0.1],
    }
)
OFFERED = pl.DataFrame({"units": [0, 12], "sold_days": [1.0, 1.0], "usual_units": [0.3, 9.5]})
FLEET = Path("tests/support/fleet")


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("fraud", [0, 1, 0, 0, 1, 0, 0, 1]),
        ("amount", [0.01, 9.99, 10.0, 29.99, 30.0, 99.99, 100.0, 5000.0]),
        ("spending_grade", [0, 0, 1, 1, 2, 2, 3, 3]),
    ],
)
def test_a_truth_is_one_number_of_each_payment(name: str, labels: list[float]) -> None:
    found = PAYMENTS.select(truth(name).alias("label"))["label"]
    assert found.dtype == pl.Float64
    assert found.to_list() == labels


@pytest.mark.parametrize(
    ("name", "rows", "labels"),
    [
        ("delivery_days", ORDERED, [0.5, 14.0]),
        ("returned", ORDERED, [0, 1]),
        ("clicked", SHOWN, [1, 0]),
        ("cancelled", MEMBERS, [1, 0]),
        ("spent_30d", MEMBERS, [0.0, 1234.56]),
        ("defaulted", ON_CREDIT, [0, 1]),
        ("units", OFFERED, [0, 12]),
        ("result_grade", IN_A_LIST, [2, 0]),
        ("suggestion_grade", IN_A_LIST, [2, 0]),
    ],
)
def test_a_truth_of_other_events_names_when_it_is_known_and_what_would_be_best(
    name: str, rows: pl.DataFrame, labels: list[float]
) -> None:
    found = rows.select(truth(name).alias("label"))["label"]
    assert found.dtype == pl.Float64
    assert found.to_list() == labels
    assert {TRUTHS[name].known_after, TRUTHS[name].best} <= set(rows.columns)


def test_every_truth_is_tested_here() -> None:
    payments = {"fraud", "amount", "spending_grade"}
    others = {"delivery_days", "returned", "clicked", "cancelled", "spent_30d", "defaulted"}
    others |= {"units", "result_grade", "suggestion_grade"}
    assert set(TRUTHS) == payments | others
    assert {name for name, of in TRUTHS.items() if of.stream == TRANSACTIONS} == payments


def test_a_truth_that_there_is_not_is_refused() -> None:
    with pytest.raises(KeyError, match="weather"):
        truth("weather")


def test_the_specs_name_truths_and_have_a_grade_for_each_step() -> None:
    specs = {**load_specs(Path("models"), (ALL_MODELS,)), **load_specs(FLEET)}
    for spec in specs.values():
        assert TRUTHS[spec.label.truth].stream == spec.label.event
    for spec in specs.values():
        if isinstance(spec, RankingSpec):
            assert spec.label.grades == TRUTHS[spec.label.truth].facts.high + 1
