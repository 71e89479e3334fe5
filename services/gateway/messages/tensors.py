"""Messages of the Open Inference Protocol V2: named tensors in, named tensors out.

Columns become rows, which then pass the same checks as the prediction API's instances.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from services.gateway.messages.answers import AnswerSchema
from services.gateway.messages.problems import FieldError, Problem, invalid_request, malformed_json
from services.gateway.messages.requests import MAX_INSTANCES, Instance, InstanceSchema, parse_leniently

KEY_TYPE, NUMBER_TYPE, UNIX_TIME_TYPE = "BYTES", "FP64", "INT64"


class Tensor(msgspec.Struct, omit_defaults=True):
    """One column of values, a row per instance."""

    name: str
    shape: Annotated[
        list[int], msgspec.Meta(description="[rows] or [rows, 1].", extra_json_schema={"minItems": 1, "maxItems": 2})
    ]
    datatype: str
    data: Annotated[list[Any], msgspec.Meta(extra_json_schema={"minItems": 1, "maxItems": MAX_INSTANCES})]
    parameters: dict[str, Any] = {}


class InferRequest(msgspec.Struct):
    """Instances as columns."""

    inputs: list[Tensor]
    id: Annotated[str | None, msgspec.Meta(description="Comes back with the answer.")] = None
    parameters: dict[str, Any] = {}
    outputs: Annotated[list[dict[str, Any]], msgspec.Meta(description="Ignored: the answer has every output.")] = []


class InferAnswer(msgspec.Struct, frozen=True):
    """Predictions as columns."""

    model_name: str
    model_version: Annotated[str, msgspec.Meta(description="The version that answered the first instance.")]
    parameters: Annotated[
        dict[str, str],
        msgspec.Meta(description="`degraded`: what any instance lacked. `versions`: one per instance, when they differ."),
    ]
    outputs: list[Tensor]
    id: str | msgspec.UnsetType = msgspec.UNSET


_decoder = msgspec.json.Decoder(InferRequest)


def input_types(schema: InstanceSchema) -> dict[str, tuple[str, ...]]:
    """Return each input's datatypes, the preferred one first. The time is the one that may be left out."""
    return {
        **dict.fromkeys(schema.keys.values(), (KEY_TYPE,)),
        **dict.fromkeys(schema.numbers, (NUMBER_TYPE, "FP32", UNIX_TIME_TYPE)),
        schema.time_input: (KEY_TYPE, UNIX_TIME_TYPE),
    }


def tensors_of(schema: InstanceSchema, answers: AnswerSchema) -> dict[str, object]:
    """Return the inputs and outputs as a model's metadata name them. A shape of -1 is any number of rows."""
    optional = {schema.time_input: {"parameters": {"optional": True}}}
    inputs = [
        {"name": name, "datatype": types[0], "shape": [-1], **optional.get(name, {})}
        for name, types in input_types(schema).items()
    ]
    outputs = [{"name": column.name, "datatype": column.datatype, "shape": [-1]} for column in answers.columns]
    return {"inputs": inputs, "outputs": outputs}


def outputs_of(answers: AnswerSchema, given: Sequence[Any]) -> list[Tensor]:
    """Answers -> columns."""
    return [
        Tensor(column.name, [len(given)], column.datatype, [getattr(answer, column.name) for answer in given])
        for column in answers.columns
    ]


def decode_request(body: bytes) -> InferRequest:
    """The message in a body. Raises Problem (400, 422)."""
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        document = parse_leniently(body, str(error))
        try:
            return msgspec.convert(document, InferRequest)
        except msgspec.ValidationError as wrong:
            expected, _, path = str(wrong).partition(" - at ")
            raise invalid_request([FieldError(path.strip("`$.") or "body", "see expected", expected)]) from wrong
        except (RecursionError, OverflowError) as wrong:
            raise malformed_json(str(error)) from wrong


def instances_of(schema: InstanceSchema, tensors: Sequence[Tensor]) -> Sequence[Instance]:
    """Columns -> rows, then the same checks as for the prediction API. Raises Problem: 422."""
    expected = input_types(schema)
    by_name = {tensor.name: tensor for tensor in tensors}
    faults = [
        FieldError(f"inputs[{name}]", "nothing", "a tensor")
        for name in expected
        if name not in by_name and name != schema.time_input
    ]
    length = max((len(_flat(tensor)) for tensor in tensors), default=0)
    if not 1 <= length <= MAX_INSTANCES:
        faults.append(FieldError("inputs", f"{length} rows", f"1 to {MAX_INSTANCES} rows"))
    for name, tensor in by_name.items():
        if name not in expected:
            faults.append(FieldError(f"inputs[{name}]", "a tensor", f"no such input; there are {', '.join(expected)}"))
        elif tensor.datatype not in expected[name]:
            faults.append(FieldError(f"inputs[{name}].datatype", tensor.datatype[:20], " or ".join(expected[name])))
        elif tensor.shape not in ([length], [length, 1]) or len(_flat(tensor)) != length:
            found = f"shape {tensor.shape[:4]} with {len(_flat(tensor))} values"
            faults.append(FieldError(f"inputs[{name}].shape", found, f"[{length}] or [{length}, 1], and as many values"))
    if faults:
        raise invalid_request(faults)
    columns = {name: _flat(tensor) for name, tensor in by_name.items()}
    if (time := by_name.get(schema.time_input)) is not None and time.datatype == UNIX_TIME_TYPE:
        columns[time.name] = [_from_unix(value) for value in columns[time.name]]
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    try:
        return schema.convert(rows)
    except Problem as problem:
        raise invalid_request([_renamed(error) for error in problem.errors]) from problem


def _flat(tensor: Tensor) -> list[Any]:
    """The values of an [n] or [n, 1] tensor, nested or already flat: the protocol allows both."""
    return [value[0] if isinstance(value, list) and len(value) == 1 else value for value in tensor.data]


def _from_unix(value: object) -> object:
    """An integer as a time; anything else stays, and is refused as the time it is not."""
    try:
        return datetime.fromtimestamp(value, UTC) if type(value) is int else value
    except (ValueError, OverflowError, OSError):
        return value


def _renamed(error: FieldError) -> FieldError:
    """`instances[3].amount` -> `inputs[amount].data[3]`."""
    at, _, name = error.field.removeprefix("instances[").partition("].")
    return FieldError(f"inputs[{name}].data[{at}]", error.found, error.expected)
