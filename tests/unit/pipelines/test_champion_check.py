"""Which labels the champion is judged by."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl

from dojo.core.events.types import Stream
from pipelines.champion_check.evaluate import labelled_requests, rows_of
from tests.support.payments import START, fill_lake, payments, small_spec

SPEC = small_spec("fraud_small")


def test_a_champion_is_judged_by_the_label_known_last_and_its_delay_is_the_first_ones(
    tmp_path: Path,
) -> None:
    rows = payments(10)
    now = START + timedelta(days=10)
    lake = fill_lake(tmp_path, rows, now, [SPEC.name])
    first = (
        lake.scan(Stream.OUTCOMES)
        .filter(pl.col("model") == SPEC.name, pl.col("request_id") == "t000003")
        .collect()
    )
    (label,) = first["label"]
    corrected = first.with_columns(
        pl.col("world_time") + timedelta(days=3), label=1 - pl.col("label")
    )
    lake.write(Stream.OUTCOMES, corrected, "part-late")
    for as_of, known in ((now - timedelta(days=6), label), (now, 1 - label)):
        found = labelled_requests(lake, SPEC, START, as_of)
        assert found["transaction_id"].is_unique().all()
        (row,) = found.filter(pl.col("transaction_id") == "t000003").to_dicts()
        assert (row["label"], row["arrived"]) == (known, timedelta(days=2))


def test_a_champion_is_judged_by_weighted_labels_and_not_by_hidden_ones(tmp_path: Path) -> None:
    rows = payments(10)
    now = START + timedelta(days=10)
    lake = fill_lake(tmp_path, rows, now)
    known = lake.scan(Stream.OUTCOMES).collect()
    positive = pl.col("label") == 1
    selective = known.with_columns(
        model=pl.lit(SPEC.name),
        label=pl.when(positive & (pl.int_range(pl.len()) % 2 == 0)).then(None).otherwise("label"),
        hidden_by=pl.when(positive & (pl.int_range(pl.len()) % 2 == 0))
        .then(pl.lit("declined"))
        .otherwise(pl.lit("")),
        weight=pl.when(positive).then(2.0).otherwise(1.0),
    )
    lake.write(Stream.OUTCOMES, selective, "part")
    found = labelled_requests(lake, SPEC, START, now).drop_nulls("label")
    assert len(found) == selective["label"].count()
    answered = rows_of(found, SPEC)
    assert answered.weights is not None
    assert set(answered.weights[answered.labels == 1]) == {2.0}
    assert set(answered.weights[answered.labels == 0]) == {1.0}
