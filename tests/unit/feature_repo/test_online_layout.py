from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from feature_repo.online_layout import (
    MalformedValueError,
    ViewLayout,
    describe_entity,
    entity_key,
    event_moment,
    layout_of,
)
from feature_repo.shop import MERCHANT_ACTIVITY

TIME = datetime(2018, 6, 15, 6, 0, 0, 1, tzinfo=UTC)  # a microsecond past the second
LAYOUT = ViewLayout("view", ["a", "b", "c"])


@pytest.mark.parametrize("moment", [TIME, datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)])
@pytest.mark.parametrize("values", [(0.0, 1.5, -2.25e300), (5e-324, None, None)])
def test_a_row_comes_back_as_it_was_packed(
    moment: datetime, values: tuple[float | None, ...]
) -> None:
    row = LAYOUT.unpack(LAYOUT.pack(moment, values))
    assert (event_moment(row), row.values) == (moment, values)


def test_a_row_is_a_messagepack_array_that_any_reader_knows() -> None:
    schema, event_time, values = msgspec.msgpack.decode(LAYOUT.pack(TIME, [1.5, None, 0.0]))
    assert schema == LAYOUT.schema
    assert timedelta(microseconds=event_time) == TIME - datetime(1970, 1, 1, tzinfo=UTC)
    assert values == [1.5, None, 0.0]


@pytest.mark.parametrize(
    "others", [["b", "a", "c"], ["a", "b"], ["a", "b", "c", "d"], ["a", "b", "x"], ["a", "b\nc"]]
)
def test_a_row_of_another_catalogue_is_refused_never_misread(others: list[str]) -> None:
    written = ViewLayout("view", others).pack(TIME, [1.0] * len(others))
    with pytest.raises(MalformedValueError, match="view: the row was written for other features"):
        LAYOUT.unpack(written)


def test_a_row_that_is_short_of_a_value_is_refused() -> None:
    with pytest.raises(MalformedValueError, match="other features"):
        LAYOUT.unpack(LAYOUT.pack(TIME, [1.0, 2.0]))


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"\xc1",  # no MessagePack
        LAYOUT.pack(TIME, [1.0, 2.0, 3.0])[:-1],
        LAYOUT.pack(TIME, [1.0, 2.0, 3.0]) + b"\x00",
        msgspec.msgpack.encode({"schema": LAYOUT.schema}),
        msgspec.msgpack.encode([LAYOUT.schema, 1, ["1.0", 2.0, 3.0]]),
        msgspec.msgpack.encode([LAYOUT.schema, None, [1.0, 2.0, 3.0]]),
    ],
)
def test_bytes_that_are_no_row_are_refused(wrong: bytes) -> None:
    with pytest.raises(MalformedValueError):
        LAYOUT.unpack(wrong)


def test_keys_are_readable_and_count_bytes() -> None:
    assert entity_key("customer", "zoë") == b"dojo:features:customer:zo\xc3\xab"


def test_a_person_reads_a_whole_hash_with_its_faults() -> None:
    layout = layout_of(MERCHANT_ACTIVITY.name)
    shown = describe_entity(
        {
            layout.field: layout.pack(TIME, [3.0, None, 1.0]),
            b"merchant_daily": b"?",
            b"shoe_size": b"",
            b"\xff": b"",
        }
    )
    assert shown[MERCHANT_ACTIVITY.name] == {
        "event_time": "2018-06-15T06:00:00.000001+00:00",
        "features": {
            "merchant_last_tx_time": 3.0,
            "merchant_last_tx_count_1h": None,
            "merchant_last_amount_1h": 1.0,
        },
    }
    assert str(shown["merchant_daily"]["fault"]).startswith("merchant_daily: ")
    assert shown["shoe_size"] == {"fault": "no such view in the catalogue"}
    assert len(shown) == 4
