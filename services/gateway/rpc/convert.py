"""From the protocol's gRPC messages to the structs of its HTTP door, and back.

    raw_input_contents      as HTTP's bytes behind the JSON, a part per tensor
    contents                as HTTP's `data`

An answer has the form of its request: raw, or typed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from services.gateway.messages import binary_tensors
from services.gateway.messages.binary_tensors import NUMPY_TYPES, SIZE, values_of
from services.gateway.messages.problems import FieldError, Problem, invalid_request
from services.gateway.messages.tensors import convert_request
from services.gateway.messages.v2_structs import InferAnswer, InferRequest, Tensor
from services.gateway.rpc.protocol import CLASSES, ONE_OF, Message

# Datatype -> the field of a tensor's typed values.
CONTENTS: Mapping[str, str] = {
    "BOOL": "bool_contents",
    "BYTES": "bytes_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    **{name: f"{name.lower()}_contents" for name in ("INT64", "UINT64", "FP32", "FP64")},
}
assert {*NUMPY_TYPES, *binary_tensors.PACKED_TYPES} <= set(CONTENTS)
# HTTP's choice between JSON and bytes. Here the request's form decides.
HTTP_ONLY = "binary_data"


def infer_request(message: Message) -> InferRequest:
    """Return a ModelInferRequest as HTTP's decoder would.

    Raises:
        Problem: 422.
    """
    raw = message.raw_input_contents
    request = convert_request(
        {
            "id": message.id or None,
            "parameters": {"binary_data_output": bool(raw)},
            "inputs": [
                {"name": one.name, "shape": list(one.shape), "datatype": one.datatype}
                for one in message.inputs
            ],
            "outputs": [
                {"name": one.name, "parameters": _parameters(one)} for one in message.outputs
            ],
        }
    )
    if not raw:
        for sent, tensor in zip(message.inputs, request.inputs, strict=True):
            tensor.data = _typed_values(tensor, sent.contents)
        return request
    if len(raw) != len(request.inputs):
        found, expected = f"{len(raw)} parts", f"one for each of the {len(request.inputs)} inputs"
        raise _refused("raw_input_contents", found, expected)
    for sent, tensor, part in zip(message.inputs, request.inputs, raw, strict=True):
        if sent.contents.ByteSize():
            found = "values beside raw_input_contents"
            raise _refused(f"inputs[{tensor.name}].contents", found, "one of both")
        tensor.data = values_of(tensor, part)
    return request


def infer_response(answer: InferAnswer, behind: bytes) -> Message:
    """Return the ModelInferResponse of an answer.

    Args:
        behind: The raw values of all outputs. Empty when the outputs have their values themselves.
    """
    response = CLASSES["ModelInferResponse"](
        model_name=answer.model_name, model_version=answer.model_version, id=answer.id or ""
    )
    for name, value in answer.parameters.items():
        response.parameters[name].string_param = value
    at = 0
    for output in answer.outputs:
        made = response.outputs.add(name=output.name, datatype=output.datatype, shape=output.shape)
        if behind:
            size = output.parameters[SIZE]
            response.raw_output_contents.append(behind[at : at + size])
            at += size
        else:
            values = [math.nan if value is None else value for value in output.data or ()]
            getattr(made.contents, CONTENTS[output.datatype]).extend(values)
    return response


def _typed_values(tensor: Tensor, contents: Message) -> list[Any]:
    field = CONTENTS.get(tensor.datatype)
    if field is None:
        return []  # no input has such a datatype: a later check refuses it
    if others := [other.name for other, _ in contents.ListFields() if other.name != field]:
        expected = f"{field}, for the datatype {tensor.datatype}"
        raise _refused(f"inputs[{tensor.name}].contents", ", ".join(others), expected)
    values = list(getattr(contents, field))
    if tensor.datatype != "BYTES":
        return values
    try:
        return [value.decode() for value in values]
    except UnicodeDecodeError as error:
        raise _refused(
            f"inputs[{tensor.name}]", "bytes that are not UTF-8", "text in UTF-8"
        ) from error


def _parameters(output: Message) -> dict[str, Any]:
    """Return the parameters of a requested output."""
    return {
        name: getattr(value, chosen)
        for name, value in output.parameters.items()
        if name != HTTP_ONLY and (chosen := value.WhichOneof(ONE_OF))
    }


def _refused(field: str, found: str, expected: str) -> Problem:
    return invalid_request([FieldError(field, found, expected)])
