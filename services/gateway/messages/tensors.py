"""Messages of the Open Inference Protocol V2: named tensors in, named tensors out.

Columns become rows. The rows pass the same checks as the prediction API's instances. A request's
`id` is the request id of its row if it has only one. The optional tensor `request_id` names each
row's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np

from services.gateway.messages import binary_tensors
from services.gateway.messages.answers import AnswerSchema
from services.gateway.messages.problems import FieldError, Problem, invalid_request, malformed_json
from services.gateway.messages.requests import (
    MAX_INSTANCES,
    REQUEST_ID,
    Instance,
    InstanceSchema,
    parse_leniently,
    refuse_repeated_keys,
)
from services.gateway.messages.v2_structs import InferRequest, Tensor

KEY_TYPE = "BYTES"
# Metadata name the first type.
NUMBER_TYPES = ("FP64", *(name for name in binary_tensors.NUMPY_TYPES if name != "FP64"))
# Datatype -> least and largest value.
WHOLE_TYPES = {
    name: (int(np.iinfo(kind).min), int(np.iinfo(kind).max))
    for name, kind in binary_tensors.NUMPY_TYPES.items()
    if np.dtype(kind).kind in "iu"
}


_decoder = msgspec.json.Decoder(InferRequest)


def input_types(schema: InstanceSchema) -> dict[str, tuple[str, ...]]:
    """Return each input's datatypes, the preferred one first.

    `schema.optional` lists optional inputs.
    """
    return {
        **dict.fromkeys(schema.keys.values(), (KEY_TYPE,)),
        **dict.fromkeys(schema.numbers, NUMBER_TYPES),
        **dict.fromkeys(schema.categories, (KEY_TYPE,)),
        REQUEST_ID: (KEY_TYPE,),
        schema.time_input: (KEY_TYPE, *WHOLE_TYPES),
    }


def tensors_of(schema: InstanceSchema, answers: AnswerSchema) -> dict[str, object]:
    """Return the inputs and outputs for a model's metadata. A shape of -1 means any length."""
    optional = {name: {"parameters": {"optional": True}} for name in schema.optional}
    inputs = [
        {"name": name, "datatype": types[0], "shape": [-1], **optional.get(name, {})}
        for name, types in input_types(schema).items()
    ]
    outputs = [
        {"name": column.name, "datatype": column.datatype, "shape": [-1]}
        for column in answers.columns
    ]
    return {"inputs": inputs, "outputs": outputs}


def decode_request(body: bytes, json_length: str | None = None) -> InferRequest:
    """Return the message in a body.

    Args:
        json_length: The header with the length of the JSON part. None for a body of JSON only.

    Raises:
        Problem: 400 or 422.
    """
    if json_length is None:
        return _decode_json(body)
    end = binary_tensors.json_length(json_length, body)
    message = _decode_json(body[:end])
    binary_tensors.fill(message.inputs, body[end:])
    return message


def _decode_json(body: bytes) -> InferRequest:
    refuse_repeated_keys(body)
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        document = parse_leniently(body, str(error), _number)
        try:
            return convert_request(document)
        except (RecursionError, OverflowError) as wrong:
            raise malformed_json(str(error)) from wrong


def convert_request(document: object) -> InferRequest:
    """Return the message in an already parsed document.

    Raises:
        Problem: 422.
    """
    try:
        return msgspec.convert(document, InferRequest)
    except msgspec.ValidationError as wrong:
        expected, _, path = str(wrong).partition(" - at ")
        raise invalid_request(
            [FieldError(path.strip("`$.") or "body", "see expected", expected)]
        ) from wrong


def _number(text: str) -> float:
    """Return 2.0 as 2. JSON Schema calls both an integer, and some languages write a shape so."""
    value = float(text)
    return int(value) if value.is_integer() else value


def instances_of(
    schema: InstanceSchema, tensors: Sequence[Tensor], request_id: str | None = None
) -> Sequence[Instance]:
    """Turn columns into rows, then check them like instances of the prediction API.

    Args:
        request_id: Request id of the whole request.

    Raises:
        Problem: 422.
    """
    expected = input_types(schema)
    by_name = {tensor.name: tensor for tensor in tensors}
    times = Counter(tensor.name for tensor in tensors)
    faults = [
        FieldError(f"inputs[{name}]", f"{count} tensors", "one tensor")
        for name, count in times.items()
        if count > 1
    ]
    faults += [
        FieldError(f"inputs[{name}]", "nothing", "a tensor")
        for name in expected
        if name not in by_name and name not in schema.optional
    ]
    length = max((len(_flat(tensor)) for tensor in tensors), default=0)
    if not 1 <= length <= MAX_INSTANCES:
        faults.append(FieldError("inputs", f"{length} rows", f"1 to {MAX_INSTANCES} rows"))
    for name, tensor in by_name.items():
        if name not in expected:
            faults.append(
                FieldError(
                    f"inputs[{name}]", "a tensor", f"no such input; there are {', '.join(expected)}"
                )
            )
        elif tensor.datatype not in expected[name]:
            faults.append(
                FieldError(
                    f"inputs[{name}].datatype", tensor.datatype[:20], " or ".join(expected[name])
                )
            )
        elif tensor.shape not in ([length], [length, 1]) or len(_flat(tensor)) != length:
            found = f"shape {tensor.shape[:4]} with {len(_flat(tensor))} values"
            faults.append(
                FieldError(
                    f"inputs[{name}].shape",
                    found,
                    f"[{length}] or [{length}, 1], and as many values",
                )
            )
        elif (bounds := WHOLE_TYPES.get(tensor.datatype)) and (
            wrong := _not_within(bounds, _flat(tensor))
        ) is not None:
            expects = f"a whole number from {bounds[0]} to {bounds[1]}"
            faults.append(
                FieldError(f"inputs[{name}].data[{wrong}]", str(_flat(tensor)[wrong])[:40], expects)
            )
    if faults:
        raise invalid_request(faults)
    columns = {name: _flat(tensor) for name, tensor in by_name.items()}
    if (time := by_name.get(schema.time_input)) is not None and time.datatype in WHOLE_TYPES:
        columns[time.name] = [_from_unix(value) for value in columns[time.name]]
    of_request = bool(request_id) and length == 1 and REQUEST_ID not in columns
    if of_request:
        columns[REQUEST_ID] = [request_id]
    rows = [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]
    try:
        return schema.convert(rows)
    except Problem as problem:
        raise invalid_request(
            [_renamed(error, of_request) for error in problem.errors]
        ) from problem


def _flat(tensor: Tensor) -> list[Any]:
    """Return the values of an [n] or [n, 1] tensor, nested or flat. The protocol allows both."""
    return [
        value[0] if isinstance(value, list) and len(value) == 1 else value
        for value in tensor.data or []
    ]


def _not_within(bounds: tuple[int, int], values: Sequence[Any]) -> int | None:
    """Return the position of the first value that is not a whole number within the bounds.

    JSON has one kind of number, so 3.0 counts as whole.
    """
    for at, value in enumerate(values):
        whole = type(value) is int or (type(value) is float and value.is_integer())
        if not whole or not bounds[0] <= value <= bounds[1]:
            return at
    return None


def _from_unix(value: Any) -> object:
    """Return a whole number as a time. A number beyond the calendar stays, and is refused later."""
    try:
        return datetime.fromtimestamp(int(value), UTC)
    except (ValueError, OverflowError, OSError):
        return value


def in_tensors(problem: Problem) -> Problem:
    """A problem of rows, told of their columns. Others stay as they are."""
    if not any(error.field.startswith("instances[") for error in problem.errors):
        return problem
    return invalid_request([_renamed(error, of_request=False) for error in problem.errors])


def _renamed(error: FieldError, of_request: bool) -> FieldError:
    """Rename a field: `instances[3].amount` -> `inputs[amount].data[3]`.

    Args:
        of_request: The request's id serves as the row's request id.
    """
    at, _, name = error.field.removeprefix("instances[").partition("].")
    if of_request and name == REQUEST_ID:
        return FieldError("id", error.found, error.expected)
    return FieldError(f"inputs[{name}].data[{at}]", error.found, error.expected)
