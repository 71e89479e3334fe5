"""The recorder's pure parts: rows from messages, new rows, waiting times."""

from __future__ import annotations

import json
import random
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import islice
from pathlib import Path

import msgspec
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dojo.core.events.columns import frame_of
from dojo.core.events.streams import EVENT_TYPES
from dojo.core.events.types import Event, Outcome, Prediction, Stream
from dojo.core.lake import SCHEMAS, Lake, utc_date
from dojo.shop.events import TRANSACTIONS, Transaction
from services.recorder.deduplicate import PartitionIds, Received, identity_of, new_events
from services.recorder.ownership import LakeOwnership, remove_leftovers
from services.recorder.pace import FILE_WORLD_TIME, LONGEST, SHORTEST, round_interval
from tests.integration.services.recorder.recording import synthetic_events

DAY = date(2018, 6, 10)
NOON = datetime(2018, 6, 10, 12, tzinfo=UTC)
TX = TRANSACTIONS


def transaction(event_id: str, world_time: datetime = NOON) -> Transaction:
    return Transaction(
        event_id=event_id,
        world_time=world_time,
        wall_time=NOON,
        transaction_id="1",
        customer_id="c",
        merchant_id="m",
        amount=1.0,
    )


def received(*event_ids: str) -> list[Received]:
    return [
        Received(f"{number}-0", transaction(event_id), DAY)
        for number, event_id in enumerate(event_ids)
    ]


@pytest.mark.parametrize("stream", EVENT_TYPES)
def test_rows_have_the_lakes_schema_and_the_events_values(stream: str) -> None:
    events = [
        event
        for event in islice(synthetic_events(random.Random(1)), 12 * len(EVENT_TYPES))
        if event.stream == stream
    ]
    assert len(events) == 12
    frame = frame_of(stream, events)
    assert frame.schema == pl.Schema(SCHEMAS[stream])
    for event, row in zip(events, frame.to_dicts(), strict=True):
        plain = {name: getattr(event, name) for name in row if name not in _CONVERTED}
        assert {name: value for name, value in row.items() if name not in _CONVERTED} == plain


_CONVERTED = {
    "entity_keys",
    "feature_names",
    "features",
    "feature_age_seconds",
    "degraded",
    "findings",
    "new_categories",
}


def test_a_predictions_vector_keeps_its_order_and_its_gaps() -> None:
    event = next(
        event for event in synthetic_events(random.Random(1)) if isinstance(event, Prediction)
    )
    event = msgspec.structs.replace(
        event,
        features={"z": 1.5, "a": -2.0},
        feature_age_seconds={"customer_daily": None, "merchant_daily": 3.25},
        degraded=("cold_start", "stale"),
    )
    (row,) = frame_of(Stream.PREDICTIONS, [event]).to_dicts()
    assert (row["feature_names"], row["features"]) == (["z", "a"], [1.5, -2.0])
    assert json.loads(row["feature_age_seconds"]) == {
        "customer_daily": None,
        "merchant_daily": 3.25,
    }
    assert json.loads(row["entity_keys"]) == event.entity_keys
    assert row["degraded"] == ["cold_start", "stale"]


def test_times_of_any_zone_become_utc_and_belong_to_the_utc_day() -> None:
    east = datetime(2018, 6, 11, 1, tzinfo=timezone(timedelta(hours=2)))
    events = [transaction("a", east), transaction("b")]
    assert [utc_date(event.world_time) for event in events] == [DAY, DAY]
    assert frame_of(TX, events)["world_time"].to_list() == [east.astimezone(UTC), NOON]


@given(st.lists(st.sampled_from("abcdefgh")), st.sets(st.sampled_from("abcdefgh")))
def test_new_events_are_the_first_of_each_unknown_id_in_order(
    event_ids: list[str], known: set[str]
) -> None:
    new = [one.event.event_id for one in new_events(received(*event_ids), known)]
    assert new == list(dict.fromkeys(event_id for event_id in event_ids if event_id not in known))


def write(lake: Lake, name: str, *event_ids: str, day: int = 0) -> Path:
    events: list[Event] = [
        transaction(event_id, NOON + timedelta(days=day)) for event_id in event_ids
    ]
    (path,) = lake.write(TX, frame_of(TX, events), name)
    return path


def test_a_partitions_ids_follow_its_files(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    ids = PartitionIds(lake)
    assert set(ids.of(TX, DAY)) == set()
    write(lake, "history", "a", "b")
    assert set(ids.of(TX, DAY)) == {"a", "b"}, "somebody else wrote a file"
    ids.wrote(TX, DAY, write(lake, "part-1-0", "c"), ["c"])
    assert set(ids.of(TX, DAY)) == {"a", "b", "c"}
    write(lake, "history-2", "d")
    assert set(ids.of(TX, DAY)) == {"a", "b", "c", "d"}, "and another one"
    (lake.partition(TX, DAY) / "history-2.parquet").unlink()
    write(lake, "history", "a", "x")
    assert set(ids.of(TX, DAY)) == {
        "a",
        "x",
        "c",
    }, "somebody else replaced a file: b is not in the lake any more"
    (lake.partition(TX, DAY) / "part-1-0.parquet").unlink()
    assert set(ids.of(TX, DAY)) == {"a", "x"}


def test_own_files_are_not_read_back(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    ids = PartitionIds(lake)
    ids.of(TX, DAY)
    path = write(lake, "part-1-0", "a")
    ids.wrote(TX, DAY, path, ["as told"])
    assert set(ids.of(TX, DAY)) == {"as told"}


def test_memory_is_bounded_by_forgetting_the_partition_unused_for_longest(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    for day in range(3):
        write(lake, "history", *(f"{day}-{number}" for number in range(10)), day=day)
    ids = PartitionIds(lake, maximum=20)
    first, second, third = (DAY + timedelta(days=day) for day in range(3))
    for day in (first, second, first, third):
        assert len(ids.of(TX, day)) == 10
    assert [day for _, day in ids._partitions] == [first, third]
    assert set(ids.of(TX, second)) == {f"1-{number}" for number in range(10)}, (
        "forgotten is not lost"
    )
    big = PartitionIds(lake, maximum=1)
    assert len(big.of(TX, first)) == 10, "the partition in use stays, however large"


def test_one_owner_per_lake(tmp_path: Path) -> None:
    one, other = LakeOwnership(tmp_path / "lake"), LakeOwnership(tmp_path / "lake")
    assert one.acquire()
    assert one.acquire()
    assert not other.acquire()
    one.release()
    assert other.acquire()
    other.release()


def test_only_the_recorders_own_leftovers_are_removed(tmp_path: Path) -> None:
    partition = Lake(tmp_path).partition(TX, DAY)
    partition.mkdir(parents=True)
    for name in (".part-1-0.parquet.77.tmp", ".history.parquet.78.tmp", "part-1-0.parquet"):
        (partition / name).write_bytes(b"")
    assert remove_leftovers(tmp_path) == 1
    assert sorted(path.name for path in partition.iterdir()) == [
        ".history.parquet.78.tmp",
        "part-1-0.parquet",
    ]


@pytest.mark.parametrize(
    ("speed", "interval"),
    [(None, SHORTEST), (0, SHORTEST), (86_400, SHORTEST), (60, FILE_WORLD_TIME / 60), (1, LONGEST)],
)
def test_a_file_covers_half_a_world_hour_within_bounds(
    speed: float | None, interval: timedelta
) -> None:
    assert round_interval(speed) == interval


def test_a_corrected_label_is_new_and_a_repeated_one_is_not(tmp_path: Path) -> None:
    """Both have the request's event id, and may be of the same day."""
    first = Outcome(
        event_id=Outcome.id_for("fraud", "1"),
        world_time=NOON,
        wall_time=NOON,
        model="fraud",
        request_id="1",
        request_time=NOON,
        label=0,
    )
    corrected = msgspec.structs.replace(first, label=1.0, world_time=NOON + timedelta(hours=1))
    back = msgspec.structs.replace(corrected, label=0.0, world_time=NOON + timedelta(hours=2))
    words: list[Event] = [first, corrected, back]
    received = [Received(f"{n}-0", event, DAY) for n, event in enumerate([*words, *words])]
    assert [one.event for one in new_events(received, set())] == words
    lake = Lake(tmp_path)
    lake.write(Stream.OUTCOMES, frame_of(Stream.OUTCOMES, words[:2]), "part-0")
    ids = PartitionIds(lake)
    assert [one.event for one in new_events(received, ids.of(Stream.OUTCOMES, DAY))] == [back]
    (file,) = lake.write(Stream.OUTCOMES, frame_of(Stream.OUTCOMES, [back]), "part-1")
    ids.wrote(Stream.OUTCOMES, DAY, file, [identity_of(back)])
    assert new_events(received, ids.of(Stream.OUTCOMES, DAY)) == []
