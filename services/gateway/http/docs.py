"""OpenAPI documentation of routes that decode for themselves: schemas and realistic examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from feature_repo import on_demand
from feature_repo.on_demand import TIME_INPUT
from services.gateway.features.lookup import COLD_START, DEFAULTS, LAST_KNOWN
from services.gateway.messages.problems import CONTENT_TYPE
from services.gateway.messages.requests import MAX_INSTANCES, MAX_KEY_LENGTH, MAX_NUMBER, InstanceSchema
from services.gateway.predictor import ARM_FAILED, CLOCK_UNSET, MODEL_UNAVAILABLE

_KEY = {"type": "string", "minLength": 1, "maxLength": MAX_KEY_LENGTH}
_NUMBER = {"type": "number", "minimum": 0, "maximum": MAX_NUMBER}
_TIME = {"type": "string", "format": "date-time"}

_EXAMPLE_VALUES: dict[str, object] = {
    "request_id": "tx-1843021",
    "customer_id": "4961",
    "merchant_id": "3412",
    "amount": 81.51,
    TIME_INPUT: "2018-06-17T14:32:05Z",
}

_PROBLEM_SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "found", "expected"],
                "properties": {"field": {"type": "string"}, "found": {"type": "string"}, "expected": {"type": "string"}},
            },
        },
    },
}


def _problem(status: int, title: str, slug: str, detail: str, errors: Sequence[Mapping[str, str]] = ()) -> dict[str, Any]:
    example: dict[str, Any] = {"type": f"urn:mlops-dojo:problem:{slug}", "title": title, "status": status, "detail": detail}
    if errors:
        example["errors"] = list(errors)
    return {"description": title, "content": {CONTENT_TYPE: {"schema": _PROBLEM_SCHEMA, "example": example}}}


_PROBLEMS = {
    "400": _problem(400, "Bad Request", "malformed-json", "the body is not JSON: Input data was truncated"),
    "404": _problem(404, "Not Found", "unknown-model", "no model 'fraud'; there are: fraud_detection"),
    "408": _problem(408, "Request Timeout", "body-too-slow", "the body did not arrive within 5 s"),
    "413": _problem(413, "Request Entity Too Large", "body-too-large", "the body may have at most 1048576 bytes"),
    "422": _problem(
        422,
        "Unprocessable Entity",
        "invalid-request",
        "wrong fields: instances[0].amount",
        [{"field": "instances[0].amount", "found": "-5", "expected": f"a finite number from 0 to {MAX_NUMBER:g}"}],
    ),
    "503": _problem(503, "Service Unavailable", "overloaded", "more requests in flight than can be answered in time"),
}


def _json(description: str, example: object, schema: Mapping[str, object] | None = None) -> dict[str, Any]:
    return {
        "description": description,
        "content": {"application/json": {"schema": schema or {"type": "object"}, "example": example}},
    }


def _responses(example: object, schema: Mapping[str, object] | None = None, **others: dict[str, Any]) -> dict[str, Any]:
    return {"responses": {"200": _json("OK", example, schema), **others}}


def predict(schema: InstanceSchema, models: Sequence[str]) -> dict[str, Any]:
    """The documentation of `POST /v1/models/{model}:predict`. schema: of the example's model."""
    properties: dict[str, Any] = {"request_id": {**_KEY, "description": "Your id; joins the prediction to its outcome."}}
    properties |= {name: {**_KEY, "description": f"Which {entity}."} for entity, name in schema.keys.items()}
    properties |= {name: {**_NUMBER, "description": on_demand.REQUEST_INPUTS[name]} for name in schema.numbers}
    properties[TIME_INPUT] = {**_TIME, "description": "When it happens, RFC 3339 with a zone. Absent: the world's now."}
    instance = {
        "type": "object",
        "additionalProperties": False,
        "required": [*schema.keys.values(), *schema.numbers],
        "properties": properties,
    }
    body = {
        "type": "object",
        "additionalProperties": False,
        "required": ["instances"],
        "properties": {"instances": {"type": "array", "minItems": 1, "maxItems": MAX_INSTANCES, "items": instance}},
    }
    answer = {
        "type": "object",
        "required": ["prediction_id", "score", "flagged", "version", "arm", "degraded"],
        "properties": {
            "prediction_id": {"type": "string"},
            "score": {"type": "number", "minimum": 0, "maximum": 1, "description": "Probability of the positive class."},
            "flagged": {"type": "boolean", "description": "The score is at or above the version's threshold."},
            "version": {"type": "string", "description": "Registry version that answered; 0 when the spec's fallback did."},
            "arm": {
                "type": "string",
                "description": "Arm of the model's route that this entity belongs to. With arm_failed in `degraded` another one answered.",
            },
            "degraded": {
                "type": ["array", "null"],
                "items": {"enum": [COLD_START, LAST_KNOWN, DEFAULTS, CLOCK_UNSET, ARM_FAILED, MODEL_UNAVAILABLE]},
                "description": "What was missing; null when the answer is whole.",
            },
        },
    }
    whole = {
        "prediction_id": "9f2c61d07ab345e8-17",
        "score": 0.0132,
        "flagged": False,
        "version": "3",
        "arm": "champion",
        "degraded": None,
    }
    answers = {"type": "object", "required": ["predictions"], "properties": {"predictions": {"type": "array", "items": answer}}}
    example = {name: _EXAMPLE_VALUES.get(name, "1") for name in properties}
    responses = {
        "200": {
            "description": "One prediction per instance, in order",
            "content": {
                "application/json": {
                    "schema": answers,
                    "examples": {
                        "whole": {"value": {"predictions": [whole]}},
                        "unknown customer": {"value": {"predictions": [{**whole, "degraded": ["cold_start"]}]}},
                        "a canary failed, the champion answered": {
                            "value": {"predictions": [{**whole, "arm": "challenger", "degraded": ["arm_failed"]}]}
                        },
                        "no model": {
                            "value": {
                                "predictions": [{**whole, "score": 0.0, "version": "0", "degraded": ["model_unavailable"]}]
                            }
                        },
                    },
                }
            },
        },
        **_PROBLEMS,
    }
    return {
        "parameters": [_path_parameter("model", models)],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": body, "example": {"instances": [example]}}},
        },
        "responses": responses,
    }


def _path_parameter(name: str, values: Sequence[str] = ()) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    if values:
        schema["enum"] = list(values)
    return {"name": name, "in": "path", "required": True, "schema": schema}


_ROUTE = {
    "generation": 12,
    "strategy": "canary",
    "why": "the shadow agreed with the champion on 1,204 requests",
    "arms": [
        {"name": "champion", "version": "3", "weight": 0.9, "mode": "live", "state": "ok"},
        {"name": "challenger", "version": "4", "weight": 0.1, "mode": "live", "state": "ok"},
    ],
}
HEALTHZ = _responses(
    {
        "status": "ok",
        "models": {
            "fraud_detection": {
                "version": "3",
                "rejected_version": None,
                "route": _ROUTE,
                "wanted_generation": 12,
                "route_problem": None,
                "registry": "ok",
                "refused_route": None,
            }
        },
    }
)
READYZ = _responses(
    {"status": "ready", "models": {"fraud_detection": {"version": "3"}}},
    **{"503": _json("No version serves yet", {"status": "not ready", "models": {"fraud_detection": {"version": None}}})},
)
METRICS = {
    "responses": {"200": {"description": "Prometheus text format", "content": {"text/plain": {"schema": {"type": "string"}}}}}
}

V2_SERVER = _responses({"name": "mlops-dojo-gateway", "version": "0.1.0", "extensions": []})
V2_HEALTH = _responses({"ready": True}, **{"503": _json("Not ready", {"ready": False})})
V2_METADATA = {
    **_responses(
        {
            "name": "fraud_detection",
            "versions": ["3", "4"],
            "platform": "onnxruntime_onnx",
            "parameters": {"route": _ROUTE},
            "inputs": [{"name": "amount", "datatype": "FP64", "shape": [-1]}],
            "outputs": [{"name": "score", "datatype": "FP64", "shape": [-1]}],
        },
        **{"404": _PROBLEMS["404"]},
    )
}
V2_READY = _responses({"name": "fraud_detection", "ready": True}, **{"404": _PROBLEMS["404"]})
V2_INFER = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"type": "object", "required": ["inputs"], "properties": {"inputs": {"type": "array"}}},
                "example": {
                    "inputs": [
                        {"name": "customer_id", "datatype": "BYTES", "shape": [1], "data": ["4961"]},
                        {"name": "merchant_id", "datatype": "BYTES", "shape": [1], "data": ["3412"]},
                        {"name": "amount", "datatype": "FP64", "shape": [1], "data": [81.51]},
                    ]
                },
            }
        },
    },
    **_responses(
        {
            "model_name": "fraud_detection",
            "model_version": "3",
            "parameters": {},
            "outputs": [
                {"name": "score", "datatype": "FP64", "shape": [1], "data": [0.0132]},
                {"name": "flagged", "datatype": "BOOL", "shape": [1], "data": [False]},
            ],
        },
        **_PROBLEMS,
    ),
}
