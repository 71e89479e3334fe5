"""Parts of the OpenAPI document that many operations share: bodies, refusals, headers, examples."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from typing import Any

import msgspec

from services.gateway.messages import problems
from services.gateway.messages.problems import FieldError, Problem, ProblemDocument
from services.gateway.messages.requests import BODY_TIMEOUT_SECONDS, EXPECTED, InstanceSchema, Time

Document = dict[str, Any]

REFERENCE = "#/components/schemas/{name}"
ANY_OBJECT: Mapping[str, object] = {"type": "object"}


def reference_to(struct: type) -> Document:
    return {"$ref": REFERENCE.format(name=struct.__name__)}


def content(schema: Mapping[str, object], **examples: object) -> Document:
    """Return a JSON body. A single example is named `example`. Several have descriptive names."""
    shown = (
        examples
        if "example" in examples
        else {"examples": {name: {"value": value} for name, value in examples.items()}}
    )
    return {"content": {"application/json": {"schema": schema, **msgspec.to_builtins(shown)}}}


def responses(
    example: object,
    schema: Mapping[str, object] = ANY_OBJECT,
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
        {"503": {"description": "No version serves yet", **content(ANY_OBJECT, example=not_ready)}}
        if not_ready
        else {}
    )
    return {
        "responses": {
            "200": {"description": "OK", **content(schema, example=example)},
            **(refusals or {}),
            **unavailable,
        }
    }


def refusals(schema: InstanceSchema, model: str, *only: int) -> Document:
    """Return an example of each refusal, by status."""
    field = FieldError(f"instances[0].{schema.time_input}", '"noon"', EXPECTED[Time])
    refused: list[Problem] = [
        problems.malformed_json("Input data was truncated"),
        problems.unknown_model(model.partition("_")[0], [model]),
        problems.body_too_slow(BODY_TIMEOUT_SECONDS),
        problems.body_too_large(1_048_576),
        problems.encoded_body("gzip"),
        problems.invalid_request([field]),
        problems.overloaded("250 requests (DOJO_MAX_IN_FLIGHT)", 1),
    ]
    return {
        str(int(problem.status)): {
            "description": problem.status.phrase,
            "content": {
                problems.CONTENT_TYPE: {
                    "schema": reference_to(ProblemDocument),
                    "example": msgspec.to_builtins(problem.document()),
                }
            },
        }
        for problem in refused
        if not only or problem.status in only
    }


def example_instance(schema: InstanceSchema) -> Document:
    """Return an instance without the time. A time in a document is too far from the world's now."""
    return {
        **dict(zip(schema.keys.values(), cycle(("4961", "3412")), strict=False)),
        **dict.fromkeys(schema.numbers, 81.51),
        **dict.fromkeys(schema.categories, "clothing"),
    }


def scoring(body: Document, responses: Mapping[str, Document]) -> Document:
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


# Without a key, or with one.
TIME_KEY = "time_key"
_SECURITY: list[dict[str, list[str]]] = [{}, {TIME_KEY: []}]
TIME_KEY_SCHEME = {
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

EXAMPLE_ROUTE = {
    "generation": 12,
    "strategy": "canary",
    "why": "the shadow agreed with the champion on 1,204 requests",
    "arms": [
        {"name": "champion", "version": "3", "weight": 0.9, "mode": "live", "state": "ok"},
        {"name": "challenger", "version": "4", "weight": 0.1, "mode": "live", "state": "ok"},
    ],
}
