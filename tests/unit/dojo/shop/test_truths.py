"""A label's meaning for a payment, also at the edges."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from dojo.core.tasks.ranking.spec import RankingSpec
from dojo.core.tasks.specs import load_specs
from dojo.shop.truths import GRADE_EDGES, TRUTHS, truth

PAYMENTS = pl.DataFrame(
    {
        "amount": [0.01, 9.99, 10.0, 29.99, 30.0, 99.99, 100.0, 5000.0],
        "label": pl.Series([0, 1, 0, 0, 1, 0, 0, 1], dtype=pl.Int8),
    }
)
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


def test_every_truth_is_tested_here() -> None:
    assert set(TRUTHS) == {"fraud", "amount", "spending_grade"}


def test_a_truth_that_there_is_not_is_refused() -> None:
    with pytest.raises(KeyError, match="weather"):
        truth("weather")


def test_the_specs_name_truths_and_have_a_grade_for_each_step() -> None:
    specs = {**load_specs(Path("models")), **load_specs(FLEET)}
    assert {spec.label.truth for spec in specs.values()} <= set(TRUTHS)
    grades = {spec.label.grades for spec in specs.values() if isinstance(spec, RankingSpec)}
    assert grades == {len(GRADE_EDGES) + 1}
