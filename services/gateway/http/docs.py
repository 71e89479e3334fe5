"""The OpenAPI document: the structs of requests and answers, with examples.

Routes decode for themselves, so FastAPI sees neither their bodies nor their path parameters.
`completed` adds both afterwards, because FastAPI would drop nulls from the examples. A path with
`{model}` appears once per model, because each model has its own inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import msgspec

from dojo import __version__
from services.gateway.features.lookup import COLD_START, DEFAULTS, LAST_KNOWN, new_category
from services.gateway.http.api import Endpoint
from services.gateway.http.docs_parts import (
    EXAMPLE_ROUTE,
    REFERENCE,
    TIME_KEY,
    TIME_KEY_SCHEME,
    Document,
    content,
    example_instance,
    reference_to,
    refusals,
    responses,
    scoring,
)
from services.gateway.http.docs_v2 import infer, metadata, request_name, request_schema
from services.gateway.messages.answers import AnswerSchema
from services.gateway.messages.problems import ProblemDocument
from services.gateway.messages.requests import InstanceSchema
from services.gateway.messages.v2_structs import InferAnswer, InferRequest
from services.gateway.predictor import ARM_FAILED, CLOCK_UNSET, MODEL_UNAVAILABLE


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
        _, components = msgspec.json.schema_components(roots, ref_template=REFERENCE)
        reasons = [COLD_START, LAST_KNOWN, DEFAULTS, CLOCK_UNSET, ARM_FAILED, MODEL_UNAVAILABLE]
        general = components.pop("InferRequest")
        for model, endpoint in endpoints.items():
            components[request_name(model)] = request_schema(
                general, endpoint.schema, endpoint.answers, model
            )
            components[endpoint.answers.type.__name__]["properties"]["degraded"]["anyOf"][0][
                "items"
            ]["enum"] = [*reasons, *(new_category(name) for name in endpoint.schema.categories)]
        document["components"] = {
            "schemas": components,
            "securitySchemes": {TIME_KEY: TIME_KEY_SCHEME},
        }
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
        "/readyz": responses(up, not_ready=down),
        "/metrics": {"responses": {"200": metrics}},
        "/v2": responses(
            {
                "name": "mlops-dojo-gateway",
                "version": __version__,
                "extensions": ["binary_tensor_data"],
            }
        ),
        "/v2/health/live": responses({"live": True}),
        "/v2/health/ready": responses({"ready": True}, not_ready={"ready": False}),
    }


def _model_bodies(endpoint: Endpoint, model: str) -> dict[str, Document]:
    """Return the requests and responses of a model's paths."""
    schema, answers = endpoint.schema, endpoint.answers
    ready: Document = {"name": model, "ready": True}
    of_model = {
        "": metadata(schema, answers, model),
        "/ready": responses(
            ready, refusals=refusals(schema, model, 404), not_ready={**ready, "ready": False}
        ),
        "/infer": infer(schema, answers, model),
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


def _predict(schema: InstanceSchema, answers: AnswerSchema, model: str) -> Document:
    def answer(**changes: object) -> object:
        return answers.body([answers.example(**changes)])

    instance = {"request_id": "r-1843021", **example_instance(schema)}
    examples = {
        "whole": answer(),
        "an entity that is not known yet": answer(degraded=(COLD_START,)),
        "a canary failed, the champion answered": answer(arm="challenger", degraded=(ARM_FAILED,)),
        "no model": answer(version="0", degraded=(MODEL_UNAVAILABLE,)),
    }
    whole = {
        "description": "One prediction per instance, in order",
        **content(reference_to(answers.body), **examples),
    }
    return scoring(
        content(reference_to(schema.body), example={"instances": [instance]}),
        {"200": whole, **refusals(schema, model)},
    )


def _healthz(model: str) -> Document:
    details = {
        "version": "3",
        "rejected_version": None,
        "route": EXAMPLE_ROUTE,
        "wanted_generation": 12,
        "route_problem": None,
        "registry": "ok",
        "refused_route": None,
    }
    return responses({"status": "ok", "models": {model: details}})
