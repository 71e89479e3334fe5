"""The OpenAPI document: the structs of requests and answers, with examples.

Routes decode for themselves, so FastAPI sees neither their bodies nor their path parameters.
`completed` adds both afterwards, because FastAPI would drop nulls from the examples. A path with
`{model}` appears once per model, because each model has its own inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from itertools import cycle
from typing import Any

import msgspec

from dojo import __version__
from services.gateway.features.lookup import COLD_START, DEFAULTS, LAST_KNOWN
from services.gateway.http.api import Endpoint
from services.gateway.messages import problems
from services.gateway.messages.answers import AnswerSchema
from services.gateway.messages.outputs import all_outputs, outputs_of
from services.gateway.messages.problems import FieldError, Problem, ProblemDocument
from services.gateway.messages.requests import BODY_TIMEOUT_SECONDS, EXPECTED, InstanceSchema, Time
from services.gateway.messages.tensors import input_types, tensors_of
from services.gateway.messages.v2_structs import InferAnswer, InferRequest, Tensor
from services.gateway.predictor import ARM_FAILED, CLOCK_UNSET, MODEL_UNAVAILABLE

Document = dict[str, Any]

_REFERENCE = "#/components/schemas/{name}"
_OBJECT: Mapping[str, object] = {"type": "object"}


def completed(
    derive: Callable[[], Document], endpoints: Mapping[str, Endpoint]
) -> Callable[[], Document]:
    """Return an `openapi` method that adds bodies, path parameters and the structs' schemas.

    Args:
        derive: FastAPI's own method.
        endpoints: The schemas of each model's instances and answers.
    """

    @cache
    def openapi() -> Document:
        document = derive()
        paths, shared = document["paths"], _shared_bodies(next(iter(endpoints)))
        document["paths"] = {path: _completed(paths[path], body) for path, body in shared.items()}
        for model, endpoint in endpoints.items():
            for path, body in _model_bodies(endpoint, model).items():
                document["paths"][path.replace("{model}", model)] = _completed(
                    paths[path], body, model
                )
        bodies = [
            body
            for endpoint in endpoints.values()
            for body in (endpoint.schema.body, endpoint.answers.body)
        ]
        roots = (*bodies, InferRequest, InferAnswer, ProblemDocument)
        _, components = msgspec.json.schema_components(roots, ref_template=_REFERENCE)
        reasons = [COLD_START, LAST_KNOWN, DEFAULTS, CLOCK_UNSET, ARM_FAILED, MODEL_UNAVAILABLE]
        for endpoint in endpoints.values():
            components[endpoint.answers.type.__name__]["properties"]["degraded"]["anyOf"][0][
                "items"
            ]["enum"] = reasons
        document["components"] = {"schemas": components, "securitySchemes": {TIME_KEY: _TIME_KEY}}
        return document

    return openapi


def _completed(operations: Document, body: Document, model: str | None = None) -> Document:
    """Return the operations of a path with their bodies and an id per model."""
    mine: Document = {}
    for method, operation in operations.items():
        mine[method] = {**operation, **body}
        if model is not None:
            mine[method]["operationId"] = operation["operationId"].replace("_model_", f"_{model}_")
    return mine


def _shared_bodies(model: str) -> dict[str, Document]:
    """Return the responses of paths that belong to no single model. The examples show `model`."""
    up = {"status": "ready", "models": {model: {"version": "3"}}}
    down = {"status": "not ready", "models": {model: {"version": None}}}
    metrics = {
        "description": "Prometheus text format",
        "content": {"text/plain": {"schema": {"type": "string"}}},
    }
    return {
        "/healthz": _healthz(model),
        "/readyz": _responses(up, not_ready=down),
        "/metrics": {"responses": {"200": metrics}},
        "/v2": _responses(
            {
                "name": "mlops-dojo-gateway",
                "version": __version__,
                "extensions": ["binary_tensor_data"],
            }
        ),
        "/v2/health/live": _responses({"live": True}),
        "/v2/health/ready": _responses({"ready": True}, not_ready={"ready": False}),
    }


def _model_bodies(endpoint: Endpoint, model: str) -> dict[str, Document]:
    """Return the requests and responses of a model's paths."""
    schema, answers = endpoint.schema, endpoint.answers
    ready: Document = {"name": model, "ready": True}
    of_model = {
        "": _metadata(schema, answers, model),
        "/ready": _responses(
            ready, refusals=_refusals(schema, model, 404), not_ready={**ready, "ready": False}
        ),
        "/infer": _infer(schema, answers, model),
    }
    version = {"name": "version", "in": "path", "required": True, "schema": {"type": "string"}}
    return {
        "/v1/models/{model}:predict": _predict(schema, answers, model),
        **{f"/v2/models/{{model}}{path}": body for path, body in of_model.items()},
        **{
            f"/v2/models/{{model}}/versions/{{version}}{path}": {
                **body,
                "parameters": [version, *body.get("parameters", ())],
            }
            for path, body in of_model.items()
        },
    }


def _schema(struct: type) -> Document:
    return {"$ref": _REFERENCE.format(name=struct.__name__)}


def _content(schema: Mapping[str, object], **examples: object) -> Document:
    """Return a JSON body. A single example is named `example`. Several have descriptive names."""
    shown = (
        examples
        if "example" in examples
        else {"examples": {name: {"value": value} for name, value in examples.items()}}
    )
    return {"content": {"application/json": {"schema": schema, **msgspec.to_builtins(shown)}}}


def _responses(
    example: object,
    schema: Mapping[str, object] = _OBJECT,
    refusals: Document | None = None,
    not_ready: object = None,
) -> Document:
    """Return the responses of an operation.

    Args:
        example: The answer when all is well.
        schema: The schema of that answer.
        refusals: Further responses by status.
        not_ready: The answer while no version serves.
    """
    unavailable = (
        {"503": {"description": "No version serves yet", **_content(_OBJECT, example=not_ready)}}
        if not_ready
        else {}
    )
    return {
        "responses": {
            "200": {"description": "OK", **_content(schema, example=example)},
            **(refusals or {}),
            **unavailable,
        }
    }


def _refusals(schema: InstanceSchema, model: str, *only: int) -> Document:
    """Return an example of each refusal, by status."""
    field = FieldError(f"instances[0].{schema.time_input}", '"noon"', EXPECTED[Time])
    refusals: list[Problem] = [
        problems.malformed_json("Input data was truncated"),
        problems.unknown_model(model.partition("_")[0], [model]),
        problems.body_too_slow(BODY_TIMEOUT_SECONDS),
        problems.body_too_large(1_048_576),
        problems.encoded_body("gzip"),
        problems.invalid_request([field]),
        problems.overloaded(1),
    ]
    return {
        str(int(problem.status)): {
            "description": problem.status.phrase,
            "content": {
                problems.CONTENT_TYPE: {
                    "schema": _schema(ProblemDocument),
                    "example": msgspec.to_builtins(problem.document()),
                }
            },
        }
        for problem in refusals
        if not only or problem.status in only
    }


def _example_instance(schema: InstanceSchema) -> Document:
    """Return an instance without the time. A time in a document is too far from the world's now."""
    return {
        **dict(zip(schema.keys.values(), cycle(("4961", "3412")), strict=False)),
        **dict.fromkeys(schema.numbers, 81.51),
    }


def _predict(schema: InstanceSchema, answers: AnswerSchema, model: str) -> Document:
    def answer(**changes: object) -> object:
        return answers.body([answers.example(**changes)])

    instance = {"request_id": "r-1843021", **_example_instance(schema)}
    examples = {
        "whole": answer(),
        "an entity that is not known yet": answer(degraded=(COLD_START,)),
        "a canary failed, the champion answered": answer(arm="challenger", degraded=(ARM_FAILED,)),
        "no model": answer(version="0", degraded=(MODEL_UNAVAILABLE,)),
    }
    whole = {
        "description": "One prediction per instance, in order",
        **_content(_schema(answers.body), **examples),
    }
    return _scoring(
        _content(_schema(schema.body), example={"instances": [instance]}),
        {"200": whole, **_refusals(schema, model)},
    )


def _scoring(body: Document, responses: Mapping[str, Document]) -> Document:
    """Return an operation that scores: its time key, its body, and the trace of each answer."""
    return {
        "security": _SECURITY,
        "parameters": [_TRACEPARENT],
        "requestBody": {"required": True, **body},
        "responses": {
            status: {**response, "headers": {"traceresponse": _TRACERESPONSE}}
            for status, response in responses.items()
        },
    }


def _infer(schema: InstanceSchema, answers: AnswerSchema, model: str) -> Document:
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
        for name, value in _example_instance(schema).items()
    ]
    outputs, _ = outputs_of(all_outputs(answers), [answers.example()])
    body = {"allOf": [_schema(InferRequest), {"properties": {"inputs": inputs}}]}
    answered = _responses(
        InferAnswer(model, "3", {}, outputs), _schema(InferAnswer), _refusals(schema, model)
    )
    return _scoring(_content(body, example={"inputs": columns}), answered["responses"])


def _metadata(schema: InstanceSchema, answers: AnswerSchema, model: str) -> Document:
    example = {
        "name": model,
        "versions": ["3", "4"],
        "platform": "onnxruntime_onnx",
        "parameters": {"route": _ROUTE},
        **tensors_of(schema, answers),
    }
    return _responses(example, refusals=_refusals(schema, model, 404))


def _healthz(model: str) -> Document:
    details = {
        "version": "3",
        "rejected_version": None,
        "route": _ROUTE,
        "wanted_generation": 12,
        "route_problem": None,
        "registry": "ok",
        "refused_route": None,
    }
    return _responses({"status": "ok", "models": {model: details}})


# Without a key, or with one.
TIME_KEY = "time_key"
_SECURITY: list[dict[str, list[str]]] = [{}, {TIME_KEY: []}]
_TIME_KEY = {
    "type": "http",
    "scheme": "bearer",
    "description": (
        "Lets a caller send any time: DOJO_TIME_KEY. All others leave the time out, or send one"
        " near the world's now."
    ),
}

_TRACE = {"type": "string", "examples": ["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"]}
_TRACEPARENT: Document = {
    "name": "traceparent",
    "in": "header",
    "required": False,
    "description": "Your trace (W3C Trace Context). Without one, the gateway begins a trace.",
    "schema": _TRACE,
}
_TRACERESPONSE: Document = {
    "description": "The request's trace. The prediction log has its id as `trace_id`.",
    "schema": _TRACE,
}

_ROUTE = {
    "generation": 12,
    "strategy": "canary",
    "why": "the shadow agreed with the champion on 1,204 requests",
    "arms": [
        {"name": "champion", "version": "3", "weight": 0.9, "mode": "live", "state": "ok"},
        {"name": "challenger", "version": "4", "weight": 0.1, "mode": "live", "state": "ok"},
    ],
}
