"""The lake: whole files or none, each row in its day, data sets pinned by content."""

from __future__ import annotations

import multiprocessing
import os
import signal
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import BinaryIO

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dojo.core.events.streams import EVENT_TYPES
from dojo.core.events.types import Stream
from dojo.core.lake import (
    SCHEMAS,
    Lake,
    UnreadableFileError,
    content_hash,
    midnight,
    utc_date,
    write_parquet_atomically,
)
from dojo.shop.events import TRANSACTIONS
from tests.support.paths import STRANGE_NAME

NOON = datetime(2018, 6, 10, 12, tzinfo=UTC)
FIRST, SECOND = date(2018, 6, 10), date(2018, 6, 11)


def transactions(*times: datetime) -> pl.DataFrame:
    rows = [
        {
            "event_id": f"tx-{number}",
            "world_time": time,
            "wall_time": time,
            "transaction_id": str(number),
            "customer_id": "c",
            "merchant_id": "m",
            "amount": float(number),
        }
        for number, time in enumerate(times)
    ]
    return pl.DataFrame(rows, schema=SCHEMAS[TRANSACTIONS])


def test_an_error_of_reading_names_the_file_that_is_not_whole(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    whole = tmp_path / "shadows" / "date=2025-01-05" / "whole.parquet"
    write_parquet_atomically(pl.DataFrame({"event_id": ["a"]}), whole)
    with lake.naming_unreadable():
        pl.scan_parquet(lake.files("shadows")).collect()
    cut, empty = whole.with_name("cut.parquet"), whole.with_name("empty.parquet")
    cut.write_bytes(whole.read_bytes()[:-20])
    empty.touch()
    assert lake.unreadable() == [cut, empty]
    named = pytest.raises(UnreadableFileError, match=r"cut\.parquet.*empty\.parquet")
    with named, lake.naming_unreadable():
        pl.scan_parquet([cut, empty]).collect()
    cut.unlink()
    empty.unlink()
    with pytest.raises(pl.exceptions.ComputeError, match="other"), lake.naming_unreadable():
        raise pl.exceptions.ComputeError("other")


def test_rows_go_into_the_partition_of_their_day(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    written = lake.write(
        TRANSACTIONS, transactions(NOON + timedelta(days=1), NOON, NOON), "history"
    )
    assert [str(path.relative_to(tmp_path)) for path in written] == [
        "transactions/date=2018-06-10/history.parquet",
        "transactions/date=2018-06-11/history.parquet",
    ]
    assert [pl.read_parquet(path).height for path in written] == [2, 1]
    assert lake.days(TRANSACTIONS) == (FIRST, SECOND)
    assert pl.read_parquet(written[0]).schema == pl.Schema(SCHEMAS[TRANSACTIONS])


def test_a_path_is_no_pattern(tmp_path: Path) -> None:
    lake = Lake(tmp_path / STRANGE_NAME)
    lake.write(TRANSACTIONS, transactions(NOON, NOON + timedelta(days=1)), "history")
    assert lake.scan(TRANSACTIONS).collect().height == 2
    assert lake.newest(TRANSACTIONS) == NOON + timedelta(days=1)


def test_files_from_before_a_column_existed_are_read_beside_new_ones(tmp_path: Path) -> None:
    """The first release's predictions had no route_generation. Lake files are never rewritten."""
    lake = Lake(tmp_path)
    rows = pl.DataFrame(
        {name: [None] for name in SCHEMAS[Stream.PREDICTIONS]}, schema=SCHEMAS[Stream.PREDICTIONS]
    )
    rows = rows.with_columns(
        world_time=pl.lit(NOON), event_id=pl.lit("p"), route_generation=pl.lit(7)
    )
    (new,) = lake.write(Stream.PREDICTIONS, rows, "part-2-0")
    rows.drop("route_generation").write_parquet(new.with_name("part-1-0.parquet"))
    found = lake.scan(Stream.PREDICTIONS, NOON, NOON + timedelta(hours=1)).collect()
    assert found.schema == pl.Schema(SCHEMAS[Stream.PREDICTIONS])
    assert found["route_generation"].to_list() == [None, 7]
    assert (
        lake.scan(Stream.PREDICTIONS).filter(pl.col("route_generation").is_in([7])).collect().height
        == 1
    )
    assert lake.newest(Stream.PREDICTIONS) == NOON


def test_a_column_that_a_later_release_writes_is_ignored(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    (new,) = lake.write(TRANSACTIONS, transactions(NOON), "part-2-0")
    pl.read_parquet(new).with_columns(colour=pl.lit("red")).write_parquet(new)
    lake.write(TRANSACTIONS, transactions(NOON), "part-1-0")
    assert lake.scan(TRANSACTIONS).collect().equals(pl.concat([transactions(NOON)] * 2))
    assert lake.newest(TRANSACTIONS) == NOON


def test_the_same_name_replaces_and_another_name_adds(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    for _ in range(2):
        lake.write(TRANSACTIONS, transactions(NOON, NOON), "history")
    assert lake.scan(TRANSACTIONS).collect().height == 2
    lake.write(TRANSACTIONS, transactions(NOON), "part-1-0")
    assert lake.scan(TRANSACTIONS).collect().height == 3


def test_wrong_columns_are_refused_by_name(tmp_path: Path) -> None:
    for frame in (
        transactions(NOON).drop("amount"),
        transactions(NOON).with_columns(colour=pl.lit("red")),
    ):
        with pytest.raises(ValueError, match="transactions: expected columns"):
            Lake(tmp_path).write(TRANSACTIONS, frame, "history")
    assert Lake(tmp_path).files(TRANSACTIONS) == []


def test_a_scan_is_half_open_and_takes_any_time_zone(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    hours = [datetime(2018, 6, 10, tzinfo=UTC) + timedelta(hours=h) for h in range(48)]
    lake.write(TRANSACTIONS, transactions(*hours), "history")

    def found(start: datetime | None, end: datetime | None) -> list[datetime]:
        return lake.scan(TRANSACTIONS, start, end).collect()["world_time"].sort().to_list()

    assert found(hours[3], hours[30]) == hours[3:30]
    assert found(None, hours[24]) == hours[:24]
    assert found(hours[24], None) == hours[24:]
    east = timezone(timedelta(hours=14))  # already tomorrow there
    assert found(hours[20].astimezone(east), hours[22].astimezone(east)) == hours[20:22]
    west = timezone(timedelta(hours=-12))  # still yesterday there
    assert found(hours[20].astimezone(west), hours[30].astimezone(west)) == hours[20:30]


@pytest.mark.parametrize("stream", EVENT_TYPES)
def test_an_empty_lake_scans_as_no_rows_of_the_right_schema(tmp_path: Path, stream: str) -> None:
    frame = Lake(tmp_path).scan(stream).collect()
    assert frame.is_empty()
    assert frame.schema == pl.Schema(SCHEMAS[stream])
    assert Lake(tmp_path).days(stream) is None


def test_a_pinned_manifest_reads_the_same_rows_after_the_lake_grew(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.write(TRANSACTIONS, transactions(NOON, NOON + timedelta(days=1)), "history")
    pinned = lake.manifest(TRANSACTIONS, FIRST, FIRST)
    assert [file.path for file in pinned] == ["transactions/date=2018-06-10/history.parquet"]
    lake.write(TRANSACTIONS, transactions(NOON), "part-1-0")
    assert (
        lake.scan(TRANSACTIONS, files=[tmp_path / file.path for file in pinned]).collect().height
        == 1
    )
    assert len(lake.manifest(TRANSACTIONS, FIRST, FIRST)) == 2


def test_a_manifest_notices_a_changed_file(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.write(TRANSACTIONS, transactions(NOON), "history")
    before = lake.manifest(TRANSACTIONS, FIRST, SECOND)
    lake.write(TRANSACTIONS, transactions(NOON + timedelta(microseconds=1)), "history")
    assert lake.manifest(TRANSACTIONS, FIRST, SECOND) != before


# A write can be killed after some of the bytes, and just before the rename. The child is forked
# without Polars' threads. So it must not enter Polars, and writes its own bytes.
def _write_and_die(target: Path, at: str) -> None:
    def write(self: pl.DataFrame, file: BinaryIO, **_: object) -> None:
        file.write(b"PAR1half a file")
        file.flush()
        if at == "writing":
            os.kill(os.getpid(), signal.SIGKILL)

    def replace(self: Path, target: Path) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    pl.DataFrame.write_parquet = write  # type: ignore[assignment]
    Path.replace = replace  # type: ignore[assignment]
    write_parquet_atomically(transactions(), target)


@pytest.mark.parametrize("at", ["writing", "renaming"])
def test_a_kill_during_a_write_leaves_the_old_file_and_no_visible_partial_one(
    tmp_path: Path, at: str
) -> None:
    lake = Lake(tmp_path)
    (old,) = lake.write(TRANSACTIONS, transactions(NOON), "history")
    context = multiprocessing.get_context("fork")
    for target in (old, old.with_name("part-1-0.parquet")):
        writer = context.Process(target=_write_and_die, args=(target, at))
        writer.start()
        writer.join(20)
        assert writer.exitcode == -signal.SIGKILL
        assert lake.files(TRANSACTIONS) == [old]
        assert lake.scan(TRANSACTIONS).collect().height == 1
    assert len(list(old.parent.glob(".*.tmp"))) == 2, (
        "the writers died before they had written anything"
    )


def test_a_failed_write_cleans_up_after_itself(tmp_path: Path) -> None:
    target = tmp_path / "x.parquet"
    target.mkdir()  # in the way of the rename
    with pytest.raises(OSError, match="directory"):
        write_parquet_atomically(transactions(NOON), target)
    assert list(tmp_path.iterdir()) == [target]


values = st.lists(
    st.tuples(
        st.none() | st.text(max_size=4),
        st.none() | st.floats(),
        st.none() | st.booleans(),
        st.none() | st.lists(st.none() | st.text(max_size=3), max_size=3),
    ),
    max_size=12,
)
SCHEMA = {"text": pl.String, "number": pl.Float64, "flag": pl.Boolean, "texts": pl.List(pl.String)}


def frame_of(rows: list[tuple[object, ...]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


@given(values, st.integers(0, 12))
def test_the_same_values_hash_the_same_however_they_are_chunked(
    rows: list[tuple[object, ...]], cut: int
) -> None:
    frame = frame_of(rows)
    chunked = pl.concat([frame_of(rows[:cut]), frame_of(rows[cut:])], rechunk=False)
    assert content_hash(chunked) == content_hash(frame) == content_hash(frame.slice(0))


@given(values, values)
def test_different_values_hash_differently(
    one: list[tuple[object, ...]], other: list[tuple[object, ...]]
) -> None:
    same = repr(one) == repr(other)  # with repr, NaN equals itself and 0.0 differs from -0.0
    assert (content_hash(frame_of(one)) == content_hash(frame_of(other))) is same


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a", "bc"), ("ab", "c")),
        (("", "a"), (None, "a")),
        ((["a"], ["b"]), (["a", "b"], [])),
        ((["a", None], []), (["a"], [None])),
        (([], []), (None, [])),
        ((0.0, 1.0), (None, 1.0)),
        ((1, 2), (2, 1)),
        ((1, 2), (1.0, 2.0)),
    ],
)
def test_values_that_look_alike_are_told_apart(
    one: tuple[object, ...], other: tuple[object, ...]
) -> None:
    assert content_hash(pl.DataFrame({"x": list(one)}, strict=False)) != content_hash(
        pl.DataFrame({"x": list(other)})
    )


def test_a_hash_counts_the_chosen_columns_in_their_order() -> None:
    frame = pl.DataFrame({"a": [1, 2], "b": [1, 2], "wall_time": [NOON, NOON]})
    later = frame.with_columns(wall_time=pl.lit(NOON + timedelta(days=1)))
    assert content_hash(frame, ["a", "b"]) == content_hash(later, ["a", "b"])
    assert content_hash(frame) != content_hash(later)
    assert content_hash(frame, ["a", "b"]) != content_hash(frame, ["b", "a"])


@pytest.mark.parametrize("stream", EVENT_TYPES)
def test_every_streams_rows_can_be_hashed(stream: str) -> None:
    assert len(content_hash(pl.DataFrame(schema=SCHEMAS[stream]))) == 64


def test_days_begin_at_midnight_utc() -> None:
    assert midnight(NOON + timedelta(microseconds=1)) == datetime(2018, 6, 10, tzinfo=UTC)
    assert utc_date(datetime(2018, 6, 10, 1, tzinfo=timezone(timedelta(hours=2)))) == date(
        2018, 6, 9
    )
