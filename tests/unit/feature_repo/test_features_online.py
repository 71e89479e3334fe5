"""Rules for values that go online: due times, freshness, outdated days, windows, the catalogue."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from dojo.core.events.types import Stream
from dojo.core.lake import Lake
from dojo.core.tasks.specs import load_specs
from dojo.shop.events import TRANSACTIONS
from feature_repo.catalog import REQUESTS, VIEWS
from feature_repo.freshness import judge_freshness
from feature_repo.shop import CUSTOMER_ACTIVITY
from feature_repo.windows import online_row
from pipelines.features import inputs, offline
from pipelines.features.catalog_report import catalog_entries, search
from pipelines.features.materialize import latest_midnight
from services.materializer.loop import is_due, publishable
from services.streamer.windows import SlidingWindow
from tests.support.feature_reference import Payment, outcomes_of, streams_of, transactions_of

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
MODELS = Path("models")


@pytest.mark.parametrize(
    ("materialized", "now", "due"),
    [
        (None, NOON, True),
        (
            NOON,
            NOON + timedelta(hours=17, minutes=59),
            False,
        ),  # the next midnight is published at 06:00
        (NOON, NOON + timedelta(hours=18), True),
        # Another world began, and its past must not stop its future.
        (NOON, NOON - timedelta(days=30), True),
    ],
)
def test_a_run_is_due_once_a_midnight_is_published(
    materialized: datetime | None, now: datetime, due: bool
) -> None:
    assert is_due(materialized, now, now) is due


@pytest.mark.parametrize(
    ("recorded", "as_of"),
    [
        (NOON - timedelta(minutes=20), NOON),  # the recorder's usual lag
        (NOON - timedelta(hours=12), NOON),  # whole at this day's midnight: it may be published
        (
            NOON - timedelta(hours=12, seconds=1),
            NOON - timedelta(days=1, hours=6),
        ),  # only at yesterday's
        (NOON - timedelta(days=3), NOON - timedelta(days=3, hours=6)),
    ],
)
def test_no_midnight_is_published_before_the_lake_is_whole_at_it(
    recorded: datetime, as_of: datetime
) -> None:
    assert publishable(NOON, recorded) == as_of
    assert recorded >= latest_midnight(as_of)


def test_freshness_is_judged_by_the_views_sla_and_no_data_is_no_pass() -> None:
    sla = VIEWS["customer_daily"].freshness_sla
    assert judge_freshness("customer_daily", None, NOON).verdict == "insufficient_data"
    assert judge_freshness("customer_daily", NOON - sla, NOON).verdict == "ok"
    assert (
        judge_freshness("customer_daily", NOON - sla - timedelta(seconds=1), NOON).verdict
        == "stale"
    )


def _lake_rows(payments: list[Payment]) -> tuple[pl.DataFrame, pl.DataFrame]:
    return tuple(
        frame.with_columns(event_id=pl.format("event-{}", key), wall_time="world_time")
        for key, frame in (
            ("transaction_id", transactions_of(payments)),
            ("request_id", outcomes_of(payments)),
        )
    )  # type: ignore[return-value]


def test_only_days_whose_lake_files_changed_are_outdated(tmp_path: Path) -> None:
    start = datetime(2026, 1, 1, 9, tzinfo=UTC)
    made = [
        Payment(f"t{d}", "a", "x", start + timedelta(days=d), 500, 0, start + timedelta(days=d + 1))
        for d in range(10)
    ]
    lake, store = Lake(tmp_path / "lake"), tmp_path / "features"
    transactions, outcomes = _lake_rows(made)
    lake.write(TRANSACTIONS, transactions, "history")
    lake.write(Stream.OUTCOMES, outcomes, "history")
    first, last = date(2026, 1, 1), date(2026, 1, 10)

    wanted = inputs.fingerprints(lake, first, last)
    assert inputs.outdated(store, wanted, first) == sorted(wanted)
    offline.build_offline(streams_of(made), store, first, last)
    inputs.record_built(store, wanted, first)
    assert inputs.outdated(store, inputs.fingerprints(lake, first, last), first) == []

    late, _ = _lake_rows([Payment("late", "a", "x", start + timedelta(days=6), 500, 0, None)])
    lake.write(TRANSACTIONS, late, "part-1")
    wanted = inputs.fingerprints(lake, first, last)
    assert inputs.outdated(store, wanted, first) == [
        date(2026, 1, day) for day in (7, 8, 9, 10)
    ]  # its own day and later days that look back on it
    inputs.record_built(store, wanted, first)
    offline.offline_file(store, "merchant_daily", date(2026, 1, 3)).unlink()
    assert inputs.outdated(store, wanted, first) == [date(2026, 1, 3)]


def test_days_whose_history_was_deleted_stay_as_they_were_built(tmp_path: Path) -> None:
    start = datetime(2025, 6, 1, 9, tzinfo=UTC)
    days = offline.HISTORY.days + 20
    made = [
        Payment(f"t{d}", "a", "x", start + timedelta(days=d), 500, 0, start + timedelta(days=d + 1))
        for d in range(days)
    ]
    lake, store = Lake(tmp_path / "lake"), tmp_path / "features"
    transactions, outcomes = _lake_rows(made)
    lake.write(TRANSACTIONS, transactions, "history")
    lake.write(Stream.OUTCOMES, outcomes, "history")
    first, last = start.date(), start.date() + timedelta(days=days - 1)
    wanted = inputs.fingerprints(lake, first, last)
    for day in wanted:
        for view in VIEWS:
            offline.offline_file(store, view, day).parent.mkdir(parents=True, exist_ok=True)
            offline.offline_file(store, view, day).touch()
    inputs.record_built(store, wanted, first)

    begins = first + timedelta(days=1)
    lake.delete(TRANSACTIONS, begins)
    assert inputs.outdated(store, inputs.fingerprints(lake, begins, last), begins) == []
    late, _ = _lake_rows(
        [Payment("late", "a", "x", start + timedelta(days=days - 2), 500, 0, None)]
    )
    lake.write(TRANSACTIONS, late, "part-1")
    changed = inputs.outdated(store, inputs.fingerprints(lake, begins, last), begins)
    assert changed == [last - timedelta(days=1), last], "late events still count"


def test_building_again_or_from_doubled_rows_writes_the_same_bytes(tmp_path: Path) -> None:
    start = datetime(2026, 1, 1, 9, tzinfo=UTC)
    made = [
        Payment(
            f"t{n}",
            "ab"[n % 2],
            "xyz"[n % 3],
            start + timedelta(hours=5 * n),
            100 * n,
            n % 4 == 0,
            start + timedelta(days=n),
        )
        for n in range(30)
    ]
    transactions, outcomes = transactions_of(made), outcomes_of(made)
    shuffled = pl.concat([transactions, transactions]).sample(fraction=1.0, shuffle=True, seed=3)
    for name, rows in (("once", transactions), ("again", transactions), ("doubled", shuffled)):
        streams = {TRANSACTIONS: rows, Stream.OUTCOMES: outcomes}
        offline.build_offline(streams, tmp_path / name, date(2026, 1, 2), date(2026, 1, 6))
    files = sorted(
        path.relative_to(tmp_path / "once") for path in (tmp_path / "once").rglob("*.parquet")
    )
    assert len(files) == 5 * len(VIEWS)
    for file in files:
        once = pl.read_parquet(tmp_path / "once" / file, hive_partitioning=False)
        for other in ("again", "doubled"):
            assert once.equals(pl.read_parquet(tmp_path / other / file, hive_partitioning=False)), (
                other,
                file,
            )


def test_a_late_event_makes_a_row_newer_than_the_push_before_and_than_what_was_materialised() -> (
    None
):
    latest = NOON + timedelta(seconds=7)
    microseconds = int(latest.timestamp()) * 1_000_000
    stamps = [
        SlidingWindow((microseconds,), (1,), revision).online_timestamp for revision in (0, 1, 2)
    ]
    materialised = latest + timedelta(microseconds=1)
    assert stamps[0] == latest < materialised < stamps[1] < stamps[2]


def test_windows_are_open_at_their_old_end() -> None:
    day, hour = 86_400_000_000, 3_600_000_000
    row = online_row(
        CUSTOMER_ACTIVITY, (0, 1, day - hour, day - hour + 1, day), (1, 10, 100, 1000, 10000)
    )
    assert row["customer_last_tx_count_24h"] == 4  # the first is exactly 24 hours old
    assert row["customer_last_amount_1h"] == 110.0  # the third is exactly one hour old
    assert row["customer_last_amount_max_24h"] == 100.0


def test_every_feature_of_the_catalogue_is_complete_and_every_model_input_is_in_it() -> None:
    specs = load_specs(MODELS)
    entries = catalog_entries(specs.values())
    for entry in entries:
        described = (
            entry.owner,
            entry.description,
            entry.unit,
            entry.source,
            entry.freshness_sla,
            entry.entity,
            entry.view,
        )
        assert all(described), entry
        assert isinstance(entry.pii, bool)
    names = [entry.feature for entry in entries]
    assert len(names) == len(set(names))
    assert all(set(request.stored) <= set(names) for request in REQUESTS.values())
    read = {entry.feature for entry in entries if "fraud_detection" in entry.models}
    assert read == set(names)  # no unneeded value is computed
    assert all(VIEWS[entry.view].pii == entry.pii for entry in entries if entry.view in VIEWS)


def test_the_catalogue_is_searched_by_all_words() -> None:
    entries = catalog_entries(load_specs(MODELS).values())
    assert {entry.feature for entry in search(entries, "merchant RISK 30d")} >= {
        "merchant_risk_30d"
    }
    assert {entry.view for entry in search(entries, "merchant streak")} == {"merchant_daily"}
    assert search(entries, "merchant nonsense") == []


def test_a_lake_file_that_is_written_again_makes_its_days_outdated(tmp_path: Path) -> None:
    made = [Payment("t", "a", "x", datetime(2026, 1, 1, 9, tzinfo=UTC), 500, 0, None)]
    lake = Lake(tmp_path)
    transactions, _ = _lake_rows(made)
    (file,) = lake.write(TRANSACTIONS, transactions, "history")
    before = inputs.fingerprints(lake, date(2026, 1, 1), date(2026, 1, 2))
    os.utime(file, ns=(1, 1))
    after = inputs.fingerprints(lake, date(2026, 1, 1), date(2026, 1, 2))
    assert all(before[day] != after[day] for day in before)
