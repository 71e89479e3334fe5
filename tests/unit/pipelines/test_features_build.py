"""The first build of the offline store: a block of days at a time, and each block once."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from dojo.core.events.types import Stream
from dojo.core.lake import start_of
from dojo.shop.events import TRANSACTIONS
from feature_repo.catalog import VIEWS
from feature_repo.shop.payments import FRAUD_LABELS
from feature_repo.views import published_at
from pipelines.features import inputs, offline
from pipelines.features.materialize import build_days
from tests.support.payments import START, fill_lake, outcomes_of, payments, transactions_of

PAID_DAYS = 75
AS_OF = START + timedelta(days=PAID_DAYS)
# The midnight after the last payment has new rows, too.
DAYS = [START.date() + timedelta(days=n) for n in range(PAID_DAYS + 1)]


def test_a_build_that_ends_half_way_keeps_its_blocks_and_goes_on_to_the_same_features(
    tmp_path: Path,
) -> None:
    rows = payments(PAID_DAYS, per_day=30)
    lake, store = fill_lake(tmp_path / "lake", rows, AS_OF), tmp_path / "features"
    latest = lake.files(TRANSACTIONS)[-1]
    whole = latest.read_bytes()
    latest.write_bytes(b"torn")  # only the last block may read it
    with pytest.raises(pl.exceptions.PolarsError):
        build_days(lake, store, AS_OF)
    assert sorted(inputs.read_built(store).days) == DAYS[: 2 * offline.DAYS_AT_ONCE]

    latest.write_bytes(whole)
    days, _ = build_days(lake, store, AS_OF)
    assert days == len(DAYS) - 2 * offline.DAYS_AT_ONCE
    assert build_days(lake, store, AS_OF) == (0, 0)

    at_once = tmp_path / "at_once"
    streams = {TRANSACTIONS: transactions_of(rows), Stream.OUTCOMES: outcomes_of(rows)}
    offline.build_offline(streams, at_once, DAYS[0], DAYS[-1])
    for view in VIEWS:
        for day in DAYS:
            found, expected = (
                pl.read_parquet(offline.offline_file(root, view, day)) for root in (store, at_once)
            )
            assert found.equals(expected), (view, day)


def test_a_days_file_holds_its_midnight_or_its_events_once_and_in_order(tmp_path: Path) -> None:
    rows = payments(PAID_DAYS, per_day=20)
    twice = rows.head(20).with_columns(transaction_id=pl.col("transaction_id") + "-again")
    streams = {
        TRANSACTIONS: transactions_of(pl.concat([rows, twice])),
        Stream.OUTCOMES: outcomes_of(rows),
    }
    offline.build_offline(streams, tmp_path / "whole", DAYS[0], DAYS[-1])
    for name, view in VIEWS.items():
        for day in DAYS:
            found = pl.read_parquet(offline.offline_file(tmp_path / "whole", name, day))
            times = found["event_timestamp"]
            if view.kind == "batch":
                assert times.unique().to_list() in ([], [published_at(day)])
            else:
                # A row counts from just after its event, which may be the day's last.
                low, high = start_of(day), start_of(day) + timedelta(days=1)
                assert times.is_between(low, high, closed="right").all()
                events = rows.filter(pl.col("time").dt.date() == day)
                assert len(found) == len(events.unique([view.key, "time"]))
            assert found.equals(found.sort("event_timestamp", view.key)), (name, day)
            assert not found.select(view.key, "event_timestamp").is_duplicated().any()


def test_days_built_later_equal_those_of_one_build(tmp_path: Path) -> None:
    rows = payments(PAID_DAYS, per_day=20)
    streams = {TRANSACTIONS: transactions_of(rows), Stream.OUTCOMES: outcomes_of(rows)}
    offline.build_offline(streams, tmp_path / "whole", DAYS[0], DAYS[-1])
    offline.build_offline(streams, tmp_path / "later", DAYS[50], DAYS[-1])
    for view in VIEWS:
        for day in DAYS[50:-1]:
            whole, later = (
                pl.read_parquet(offline.offline_file(tmp_path / name, view, day))
                for name in ("whole", "later")
            )
            assert len(whole), (view, day)
            assert whole.equals(later), (view, day)


def test_progress_grows_over_all_blocks_and_ends_at_the_whole(tmp_path: Path) -> None:
    lake = fill_lake(tmp_path / "lake", payments(PAID_DAYS, per_day=5), AS_OF)
    shares: list[float] = []
    build_days(lake, tmp_path / "features", AS_OF, lambda _what, share: shares.append(share))
    assert shares == sorted(set(shares))
    assert shares[-1] == pytest.approx(1.0)


def test_one_models_outcomes_never_count_as_anothers() -> None:
    rows = payments(20, per_day=20)
    alone = {TRANSACTIONS: transactions_of(rows), Stream.OUTCOMES: outcomes_of(rows)}
    fraud = alone[Stream.OUTCOMES].with_columns(model=pl.lit("fraud_detection"))
    other = fraud.with_columns(model=pl.lit("returns"), label=1 - pl.col("label"))
    mixed = {**alone, Stream.OUTCOMES: pl.concat([other, fraud])}
    assert FRAUD_LABELS.labels_of == "fraud_detection"
    found, expected = (offline.source_rows(streams, VIEWS.values()) for streams in (mixed, alone))
    assert all(found[source].equals(expected[source]) for source in expected)


def test_a_hidden_label_is_no_label_in_the_features() -> None:
    """A merchant's rate counts the known labels, and not the hidden ones as honest payments."""
    rows = payments(20, per_day=20)
    outcomes = outcomes_of(rows).with_columns(model=pl.lit("fraud_detection"))
    half = pl.int_range(pl.len()) % 2 == 0
    hidden = outcomes.with_columns(label=pl.when(half).then(None).otherwise("label"))
    streams = {TRANSACTIONS: transactions_of(rows), Stream.OUTCOMES: hidden}
    without = {**streams, Stream.OUTCOMES: outcomes.filter(~half)}
    found, expected = (offline.source_rows(of, VIEWS.values()) for of in (streams, without))
    assert all(found[source].equals(expected[source]) for source in expected)
