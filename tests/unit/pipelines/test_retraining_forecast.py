"""What training will refuse is known before there is a world, in training's own words."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from dojo.core.lake import Lake
from dojo.core.spec.read import with_lines
from pipelines.training.dataset.collect import collect
from pipelines.training.dataset.forecast import refusals
from pipelines.training.errors import TooFewRowsError
from tests.support.payments import START, fill_lake, payments, small_spec

DAYS = 40
AS_OF = START + timedelta(days=DAYS)
SPEC = small_spec("fraud_small")
ROWS = payments(DAYS)


def events(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.rename({"time": "world_time"})


def test_nothing_is_said_against_good_events() -> None:
    assert refusals(events(ROWS), SPEC, AS_OF) == []


def test_amounts_in_a_currency_with_large_numbers_name_the_line_that_bounds_them() -> None:
    (said,) = refusals(events(ROWS.with_columns(pl.col("amount") * 100_000)), SPEC, AS_OF)
    assert said.startswith(
        "fraud_small: transactions.amount: expected 0 to 1e+06 (feature_repo/shop/request.py:"
    )
    line = int(said.split("request.py:")[1].split(")")[0])
    assert (
        "bounds=(0, 1e6)" in Path("feature_repo/shop/request.py").read_text().splitlines()[line - 1]
    )


def test_an_amount_of_the_days_to_be_lived_counts_too() -> None:
    late = pl.when(pl.col("time") >= AS_OF - timedelta(days=1)).then(2e6).otherwise("amount")
    assert refusals(events(ROWS.with_columns(amount=late)), SPEC, AS_OF - timedelta(days=1))


@pytest.mark.parametrize("share", [0.0, 0.9])
def test_a_label_rate_that_is_not_believed(share: float) -> None:
    label = (pl.int_range(pl.len()) % 10 < share * 10).cast(pl.Int8)
    said = refusals(events(ROWS.with_columns(label=label)), SPEC, AS_OF)
    assert "expected a label rate from" in said[0]
    assert "(spec: training.label_rate)" in said[0]


def test_too_few_rows_are_said_as_training_says_it(tmp_path: Path) -> None:
    few = ROWS.gather_every(60)
    lake = Lake(tmp_path)
    fill_lake(tmp_path, few, AS_OF)
    with pytest.raises(TooFewRowsError) as refused:
        collect(lake, SPEC, AS_OF)
    assert "(spec: training.minimum_rows)" in str(refused.value)
    assert str(refused.value) in refusals(events(few), SPEC, AS_OF)


def test_too_few_days_are_one_reason() -> None:
    training = SPEC.training
    needed = training.validation + training.holdout + SPEC.label.delay.maximum
    short = ROWS.filter(pl.col("time") < START + needed)
    (said,) = refusals(events(short), SPEC, START + needed)
    assert f"expected transactions of more than {needed.days}d" in said
    assert "spec: training.holdout" in said
    assert f"found {needed.days}d" in said


def test_a_message_names_the_line_of_each_setting() -> None:
    file = Path("models/fraud_detection.yaml")
    said = with_lines("few (spec: training.minimum_rows) and spec: label.delay.maximum", file)
    lines = file.read_text().splitlines()
    for key in ("minimum_rows", "maximum"):
        number = next(n for n, line in enumerate(lines, 1) if line.strip().startswith(f"{key}:"))
        assert f"{file}:{number}: " in said
    assert said.startswith(f"few ({file}:")
