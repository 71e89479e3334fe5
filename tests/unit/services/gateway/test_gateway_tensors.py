"""Requests of the Open Inference Protocol V2.

The tests cover ids, doubled tensors and keys, datatypes, and values as bytes.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dojo.core.tasks.specs import load_spec
from services.gateway.messages.problems import Problem
from services.gateway.messages.requests import Instance, InstanceSchema
from services.gateway.messages.tensors import decode_request, instances_of

SCHEMA = InstanceSchema(load_spec(Path("models/fraud_detection.yaml")))


def tensor(name: str, datatype: str, *values: object) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [len(values)], "data": list(values)}


def message(*tensors: dict[str, Any], rows: int = 1, **more: object) -> bytes:
    keys = [
        tensor(name, "BYTES", *(f"{name}-{row}" for row in range(rows)))
        for name in ("customer_id", "merchant_id")
    ]
    return json.dumps({"inputs": [*keys, *tensors], **more}).encode()


def read(body: bytes, json_length: str | None = None) -> list[Any]:
    document = decode_request(body, json_length)
    return list(instances_of(SCHEMA, document.inputs, document.id))


def fields(body: bytes, json_length: str | None = None) -> list[str]:
    with pytest.raises(Problem) as refused:
        read(body, json_length)
    assert refused.value.status == 422
    return [error.field for error in refused.value.errors]


AMOUNT = tensor("amount", "FP64", 12.5)


def test_the_id_of_a_request_with_one_row_is_the_rows_request_id() -> None:
    (one,) = read(message(AMOUNT, id="tx-1"))
    assert one.request_id == "tx-1"
    assert [
        row.request_id for row in read(message(tensor("amount", "FP64", 1, 2), rows=2, id="batch"))
    ] == [None, None]
    assert [row.request_id for row in read(message(AMOUNT, id=""))] == [
        None
    ]  # some clients send an empty one


def test_a_tensor_names_each_rows_request_and_goes_before_the_requests_id() -> None:
    ids = tensor("request_id", "BYTES", "tx-1", "tx-2")
    assert [
        row.request_id
        for row in read(message(tensor("amount", "FP64", 1, 2), ids, rows=2, id="batch"))
    ] == [
        "tx-1",
        "tx-2",
    ]
    (one,) = read(message(AMOUNT, tensor("request_id", "BYTES", "tx-1"), id="call"))
    assert one.request_id == "tx-1"


def test_an_id_that_no_request_may_have_is_refused_by_its_own_name() -> None:
    assert fields(message(AMOUNT, id="x" * 257)) == ["id"]
    assert fields(message(AMOUNT, tensor("request_id", "BYTES", "x" * 257), id="tx-1")) == [
        "inputs[request_id].data[0]"
    ]


def test_a_tensor_that_is_there_twice_is_refused() -> None:
    assert fields(message(AMOUNT, tensor("amount", "FP64", 99.0))) == ["inputs[amount]"]


@pytest.mark.parametrize(
    "datatype",
    ["INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "FP32", "FP64"],
)
def test_every_datatype_of_numbers_is_taken(datatype: str) -> None:
    (one,) = read(message(tensor("amount", datatype, 42)))
    assert one.amount == 42.0


@pytest.mark.parametrize(
    ("datatype", "value"),
    [
        ("INT32", 1.5),
        ("UINT8", 256),
        ("INT8", -129),
        ("INT8", 128),
        ("INT32", 2**31),
        ("INT16", True),
        ("UINT64", 2**64),
        ("INT64", "3"),
    ],
)
def test_a_value_that_its_datatype_cannot_hold_is_refused(datatype: str, value: object) -> None:
    assert fields(message(tensor("amount", datatype, value))) == ["inputs[amount].data[0]"]


def test_a_time_may_be_any_whole_number_of_seconds() -> None:
    for datatype in ("INT32", "UINT32", "INT64"):
        (one,) = read(message(AMOUNT, tensor("transaction_time", datatype, 1_529_000_000)))
        assert one.transaction_time.timestamp() == 1_529_000_000


def test_a_truth_value_is_no_time() -> None:
    assert fields(message(AMOUNT, tensor("transaction_time", "INT64", True))) == [
        "inputs[transaction_time].data[0]"
    ]


# ---- values as bytes


def as_bytes(*columns: tuple[str, str, int, bytes], **more: object) -> tuple[bytes, str]:
    """Return a message with its values after the JSON, and the JSON's length.

    `columns`: name, datatype, rows, values.
    """
    inputs = [
        {
            "name": name,
            "datatype": datatype,
            "shape": [rows],
            "parameters": {"binary_data_size": len(values)},
        }
        for name, datatype, rows, values in columns
    ]
    head = json.dumps({"inputs": inputs, **more}).encode()
    return head + b"".join(values for *_, values in columns), str(len(head))


def strings(*values: str) -> bytes:
    return b"".join(struct.pack("<I", len(value.encode())) + value.encode() for value in values)


KEYS = (
    ("customer_id", "BYTES", 2, strings("c1", "zo\xeb")),
    ("merchant_id", "BYTES", 2, strings("m1", "m2")),
)


@pytest.mark.parametrize(
    ("datatype", "numpy_type"),
    [("FP64", "<f8"), ("FP32", "<f4"), ("INT64", "<i8"), ("INT32", "<i4"), ("UINT8", "u1")],
)
def test_values_may_follow_the_json_as_bytes(datatype: str, numpy_type: str) -> None:
    amounts = np.array([3, 250], numpy_type).tobytes()
    rows = read(*as_bytes(*KEYS, ("amount", datatype, 2, amounts)))
    assert [(row.customer_id, row.merchant_id, row.amount) for row in rows] == [
        ("c1", "m1", 3.0),
        ("zo\xeb", "m2", 250.0),
    ]


def test_bytes_and_json_may_stand_in_one_message() -> None:
    body, length = as_bytes(*KEYS)
    head = json.loads(body[: int(length)])
    head["inputs"].insert(1, tensor("amount", "FP64", 1.5, 2.5))
    written = json.dumps(head).encode()
    rows = read(written + body[int(length) :], str(len(written)))
    assert [row.amount for row in rows] == [1.5, 2.5]


AMOUNTS = np.array([3.0, 4.0]).tobytes()


@pytest.mark.parametrize(
    ("amounts", "field"),
    [
        (AMOUNTS[:-1], "inputs[amount]"),  # the bytes end within a value
        (AMOUNTS[:8], "inputs[amount].shape"),  # one value for two rows
        (np.array([3.0, np.nan]).tobytes(), "inputs[amount].data[1]"),
    ],
)
def test_bytes_that_are_no_values_are_refused(amounts: bytes, field: str) -> None:
    assert fields(*as_bytes(*KEYS, ("amount", "FP64", 2, amounts))) == [field]


@pytest.mark.parametrize(
    "raw", [strings("c1") + b"\x09", struct.pack("<I", 99) + b"c", struct.pack("<I", 1) + b"\xff"]
)
def test_text_that_does_not_fit_its_length_or_utf_8_is_refused(raw: bytes) -> None:
    assert fields(*as_bytes(("customer_id", "BYTES", 1, raw))) == ["inputs[customer_id]"]


def test_bytes_that_nobody_claims_or_that_are_not_there_are_refused() -> None:
    body, length = as_bytes(*KEYS, ("amount", "FP64", 2, AMOUNTS))
    assert fields(body + b"!", length) == ["Inference-Header-Content-Length"]
    assert fields(body[:-1], length) == ["inputs[amount].parameters.binary_data_size"]
    for wrong in ("-1", "x", str(len(body) + 1), "\u0663"):
        assert fields(body, wrong) == ["Inference-Header-Content-Length"]
    both = {**tensor("amount", "FP64", 1.0), "parameters": {"binary_data_size": 0}}
    assert fields(message(both), str(len(message(both)))) == [
        "inputs[amount].parameters.binary_data_size"
    ]


# ---- keys that stand there twice


def predict(text: str) -> list[Instance]:
    return list(SCHEMA.decode(text.encode()))


WHOLE = '"customer_id": "c", "merchant_id": "m", "amount": 1'


@pytest.mark.parametrize(
    ("instance", "field"),
    [
        (f'{WHOLE}, "amount": 2', "amount"),
        (f'{WHOLE}, "am\\u006funt": 2', "amount"),
        (f'{WHOLE}, "request_id": "a", "request_id": "a"', "request_id"),
    ],
)
def test_a_key_that_stands_there_twice_is_refused(instance: str, field: str) -> None:
    with pytest.raises(Problem) as refused:
        predict(f'{{"instances": [{{{instance}}}]}}')
    assert (refused.value.status, [error.field for error in refused.value.errors]) == (422, [field])


def test_two_lists_of_instances_are_refused() -> None:
    with pytest.raises(Problem) as refused:
        predict(f'{{"instances": [{{{WHOLE}}}], "instances": [{{{WHOLE}}}, {{{WHOLE}}}]}}')
    assert [error.field for error in refused.value.errors] == ["instances"]
    doubled = message(AMOUNT).replace(
        b'"datatype": "FP64"', b'"datatype": "FP32", "datatype": "FP64"'
    )
    assert fields(doubled) == ["datatype"]


def test_a_fields_name_as_a_value_and_an_escaped_value_are_no_repetition() -> None:
    (one,) = predict(
        '{"instances": [{"customer_id": "amount", "merchant_id": "m\\u00e9", "amount": 1,'
        ' "request_id": "amount"}]}'
    )
    assert isinstance(one, SCHEMA.type)
