from __future__ import annotations

import struct

import pytest

from feature_repo.online_layout import MalformedValueError, decode_timestamp, decode_value, decode_values, entity_key


def double(value: float) -> bytes:
    return b"\x29" + struct.pack("<d", value)


def test_values_are_read_by_protobufs_rules_not_by_their_usual_length() -> None:
    assert decode_value(double(2.5)) == 2.5
    assert decode_value(None) is None
    assert decode_value(b"") is None
    assert decode_value(b"\x98\x01\x00") is None  # null_val: NULL


@pytest.mark.parametrize(
    "wrong",
    [
        b"\x29\x00",  # ends early
        b"\x20\x05",  # int64_val
        b"\x12\x03abc",  # string_val
        b"\xff" * 11,  # an endless varint
        b"\x2b",  # a group, which protobuf 3 does not have
        b"\x28\x05",  # double_val's number with a varint's type
    ],
)
def test_anything_but_a_double_is_refused(wrong: bytes) -> None:
    with pytest.raises(MalformedValueError):
        decode_value(wrong)


def test_a_row_is_decoded_as_its_values_are() -> None:
    for row in ([double(1.0), double(2.0)], [double(1.0), None], [b"", double(3.0)], [], [None]):
        assert decode_values(row) == tuple(map(decode_value, row))
    assert decode_values([b"", double(1.0) + double(2.0)]) == (None, 2.0)  # protobuf: the last one counts
    # Lengths that add up to whole doubles but are none.
    with pytest.raises(MalformedValueError):
        decode_values([double(1.0) + b"\x29", double(2.0)[1:]])


def test_timestamps_keep_nanoseconds_and_signs() -> None:
    assert decode_timestamp(b"\x08\x80\xc8\xaf\xa0\x05\x10\xe8\x07") == pytest.approx(1410065408 + 1e-6, abs=1e-9)
    assert decode_timestamp(b"\x08" + b"\xff" * 9 + b"\x01") == -1.0
    assert decode_timestamp(b"") == 0.0


def test_keys_count_bytes_not_characters() -> None:
    assert entity_key("customer_id", "ë") == (
        b"\x01\x00\x00\x00\x02\x00\x00\x00\x0b\x00\x00\x00customer_id\x02\x00\x00\x00\x02\x00\x00\x00\xc3\xabdojo"
    )
