"""The binary tensor data extension of the Open Inference Protocol: raw bytes behind the JSON.

    Inference-Header-Content-Length: N      the body's first N bytes are JSON, then come the tensors
    inputs[].parameters.binary_data_size    bytes of a tensor without `data`
    outputs[].parameters.binary_data_size   the same in an answer
    outputs[].parameters.binary_data        in a request: whether this output comes as bytes
    parameters.binary_data_output           in a request: the same for outputs that do not say

Numbers are little-endian. A BYTES value is its length in four bytes, then the value. A BOOL is one
byte. `tritonclient` sends tensors and wants outputs like this by default.

Source: github.com/triton-inference-server/server, docs/protocol/extension_binary_data.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from services.gateway.messages.problems import FieldError, Problem, invalid_request

HEADER = "Inference-Header-Content-Length"
SIZE = "binary_data_size"
CONTENT_TYPE = "application/octet-stream"  # of a body with bytes behind the JSON
# The protocol's datatypes of numbers, as NumPy names them.
NUMPY_TYPES = {
    **{f"INT{8 * size}": f"<i{size}" for size in (1, 2, 4, 8)},
    **{f"UINT{8 * size}": f"<u{size}" for size in (1, 2, 4, 8)},
    "FP32": "<f4",
    "FP64": "<f8",
}
LENGTH_BYTES = 4
# The datatypes of outputs.
PACKED_TYPES = {"BOOL": "?", "INT64": NUMPY_TYPES["INT64"], "FP64": NUMPY_TYPES["FP64"]}


class Column(Protocol):
    """A tensor of a request."""

    name: str
    datatype: str
    data: Any  # a list, or unset
    parameters: dict[str, Any]


def json_length(header: str, body: bytes) -> int:
    """Return the bytes of JSON at the body's beginning.

    Raises:
        Problem: 422. The header holds no possible length.
    """
    if not (header.isascii() and header.isdigit() and int(header) <= len(body)):
        raise _refused(
            HEADER,
            header[:20],
            f"a whole number up to the body's {len(body)} bytes",
        )
    return int(header)


def fill(columns: Sequence[Column], data: bytes) -> None:
    """Give each tensor with a size its part of `data`.

    Raises:
        Problem: 422.
    """
    at = 0
    for column in columns:
        if SIZE not in column.parameters:
            continue
        size = column.parameters[SIZE]
        path = f"inputs[{column.name}].parameters.{SIZE}"
        if column.data:
            raise _refused(path, "a size, and data", "one of both")
        if type(size) is not int or not 0 <= size <= len(data) - at:
            raise _refused(
                path,
                str(size)[:20],
                f"a whole number up to the {len(data) - at} bytes that are left",
            )
        column.data = values_of(column, data[at : at + size])
        at += size
    if at < len(data):
        raise _refused(
            HEADER, f"{len(data) - at} bytes that no tensor claims", f"tensors with {SIZE}"
        )


def pack(datatype: str, values: Sequence[Any]) -> bytes:
    """Return an output's values as bytes. A number that is None becomes NaN."""
    return np.array(values, PACKED_TYPES[datatype]).tobytes()


def values_of(column: Column, raw: bytes) -> list[Any]:
    """Return a tensor's values.

    Raises:
        Problem: 422. The bytes are no whole values of the tensor's datatype.
    """
    if column.datatype == "BYTES":
        return _strings(column, raw)
    kind = NUMPY_TYPES.get(column.datatype)
    if kind is None:
        return []  # no input has such a datatype: a later check refuses it
    if len(raw) % np.dtype(kind).itemsize:
        raise _refused(
            f"inputs[{column.name}]", f"{len(raw)} bytes", f"whole values of {column.datatype}"
        )
    return np.frombuffer(raw, kind).tolist()  # type: ignore[no-any-return]


def _strings(column: Column, raw: bytes) -> list[Any]:
    values, at = [], 0
    while at < len(raw):
        start = at + LENGTH_BYTES
        end = start + int.from_bytes(raw[at:start], "little")
        if start > len(raw) or end > len(raw):
            raise _refused(
                f"inputs[{column.name}]",
                "a value longer than the data",
                "each value's length, then the value",
            )
        try:
            values.append(raw[start:end].decode())
        except UnicodeDecodeError as error:
            raise _refused(
                f"inputs[{column.name}]", "bytes that are not UTF-8", "text in UTF-8"
            ) from error
        at = end
    return values


def _refused(field: str, found: str, expected: str) -> Problem:
    return invalid_request([FieldError(field, found, expected)])
