"""The Open Inference Protocol V2 in the OpenAPI document: a model's tensors and their answers."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from services.gateway.http.docs_parts import (
    EXAMPLE_ROUTE,
    REFERENCE,
    Document,
    content,
    example_instance,
    reference_to,
    refusals,
    responses,
    scoring,
)
from services.gateway.messages import binary_tensors
from services.gateway.messages.answers import AnswerSchema
from services.gateway.messages.outputs import all_outputs, outputs_of
from services.gateway.messages.requests import InstanceSchema, struct_name
from services.gateway.messages.tensors import WHOLE_TYPES, input_types, tensors_of
from services.gateway.messages.v2_structs import InferAnswer, Tensor


def infer(schema: InstanceSchema, answers: AnswerSchema, model: str) -> Document:
    """Return the operation that scores a model's tensors."""
    types = input_types(schema)
    columns = [
        Tensor(name, [1], types[name][0], [value])
        for name, value in example_instance(schema).items()
    ]
    outputs, _ = outputs_of(all_outputs(answers), [answers.example()])
    body = {"$ref": REFERENCE.format(name=request_name(model))}
    refused = refusals(schema, model)
    answer = InferAnswer(model, "3", {}, outputs)
    answered = responses(answer, reference_to(InferAnswer), refused)["responses"]
    operation = scoring(content(body, example={"inputs": columns}), answered)
    operation["requestBody"]["description"] = (
        f"Values may follow the JSON as bytes. {binary_tensors.HEADER} then says how long the"
        " JSON is, and `data` is absent."
    )
    whole = operation["responses"]["200"]
    whole["content"][binary_tensors.CONTENT_TYPE] = {
        "schema": {"type": "string", "format": "binary"}
    }
    whole["headers"] = {**whole["headers"], binary_tensors.HEADER: _JSON_LENGTH}
    return operation


def request_name(model: str) -> str:
    return f"{struct_name(model)}InferRequest"


def request_schema(
    general: Document, schema: InstanceSchema, answers: AnswerSchema, model: str
) -> Document:
    """Return the schema of a model's infer requests.

    The model's own rules stand beside the `$ref` to the struct. A generator of clients then finds a
    list of that struct. It could not merge two schemas of one list.

    Args:
        general: The schema of `InferRequest`.
    """
    types = input_types(schema)
    required = [name for name in types if name not in schema.optional]
    named = [column for name in types for column in _columns(name, types[name], schema)]
    known = [column.name for column in answers.columns]
    properties = general["properties"]
    inputs = {
        **properties["inputs"],
        "items": {**properties["inputs"]["items"], "required": ["data"], "anyOf": named},
        "minItems": len(required),
        "maxItems": len(types),
        "allOf": [_once(name, name in required) for name in types],
    }
    outputs = {
        **properties["outputs"],
        "items": {
            **properties["outputs"]["items"],
            "properties": {"name": {"enum": known}},
        },
        "allOf": [_once(name, required=False) for name in known],
    }
    return {
        **general,
        "title": request_name(model),
        "properties": {**properties, "inputs": inputs, "outputs": outputs},
    }


def _columns(name: str, types: Sequence[str], schema: InstanceSchema) -> Sequence[Document]:
    """Return the schemas of an input's tensors, one per type of their values in JSON."""
    kind = {**schema.required, **schema.optional}[name]
    of_fields = msgspec.json.schema(kind)
    whole = {**of_fields, "type": "integer"} if name in schema.numbers else {"type": "integer"}
    groups = (
        ([one for one in types if one not in WHOLE_TYPES], of_fields),
        ([one for one in types if one in WHOLE_TYPES], whole),
    )
    return [
        {
            "properties": {
                "name": {"const": name},
                "datatype": {"enum": datatypes},
                "data": {"items": {"anyOf": [value, _alone(value)]}},
            }
        }
        for datatypes, value in groups
        if datatypes
    ]


def _alone(value: Document) -> Document:
    """Return the schema of a value of a tensor of shape [rows, 1]."""
    return {"type": "array", "minItems": 1, "maxItems": 1, "items": value}


def _once(name: str, required: bool) -> Document:
    """Return the schema of a list in which one object has this name, or at most one."""
    return {
        "contains": {"properties": {"name": {"const": name}}},
        "minContains": int(required),
        "maxContains": 1,
    }


_JSON_LENGTH: Document = {
    "description": "Bytes of JSON, when outputs follow it as bytes.",
    "required": False,
    "schema": {"type": "integer", "minimum": 1},
}


def metadata(schema: InstanceSchema, answers: AnswerSchema, model: str) -> Document:
    example = {
        "name": model,
        "versions": ["3", "4"],
        "platform": "onnxruntime_onnx",
        "parameters": {"route": EXAMPLE_ROUTE},
        **tensors_of(schema, answers),
    }
    return responses(example, refusals=refusals(schema, model, 404))
