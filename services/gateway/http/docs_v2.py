"""The Open Inference Protocol V2 in the OpenAPI document: a model's tensors and their answers."""

from __future__ import annotations

from services.gateway.http.docs_parts import (
    EXAMPLE_ROUTE,
    Document,
    content,
    example_instance,
    reference_to,
    refusals,
    responses,
    scoring,
)
from services.gateway.messages.answers import AnswerSchema
from services.gateway.messages.outputs import all_outputs, outputs_of
from services.gateway.messages.requests import InstanceSchema
from services.gateway.messages.tensors import input_types, tensors_of
from services.gateway.messages.v2_structs import InferAnswer, InferRequest, Tensor


def infer(schema: InstanceSchema, answers: AnswerSchema, model: str) -> Document:
    """Return the structs of an infer request and the model's tensors."""
    types = input_types(schema)
    required = [name for name in types if name not in schema.optional]
    named = [
        {"properties": {"name": {"const": name}, "datatype": {"enum": list(types[name])}}}
        for name in types
    ]
    inputs = {
        "minItems": len(required),
        "maxItems": len(types),
        "items": {"anyOf": named},
        "allOf": [{"contains": {"properties": {"name": {"const": name}}}} for name in required],
    }
    columns = [
        Tensor(name, [1], types[name][0], [value])
        for name, value in example_instance(schema).items()
    ]
    outputs, _ = outputs_of(all_outputs(answers), [answers.example()])
    body = {"allOf": [reference_to(InferRequest), {"properties": {"inputs": inputs}}]}
    answered = responses(
        InferAnswer(model, "3", {}, outputs), reference_to(InferAnswer), refusals(schema, model)
    )
    return scoring(content(body, example={"inputs": columns}), answered["responses"])


def metadata(schema: InstanceSchema, answers: AnswerSchema, model: str) -> Document:
    example = {
        "name": model,
        "versions": ["3", "4"],
        "platform": "onnxruntime_onnx",
        "parameters": {"route": EXAMPLE_ROUTE},
        **tensors_of(schema, answers),
    }
    return responses(example, refusals=refusals(schema, model, 404))
