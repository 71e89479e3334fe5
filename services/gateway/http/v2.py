"""The Open Inference Protocol V2 (KServe, Triton, MLServer clients): predictions as named tensors.

    inputs   entity keys: BYTES
             request inputs: FP64 or another type of numbers
             time, optional: BYTES (RFC 3339) or INT64 (unix seconds), near the world's now
             (services/gateway/time_guard.py)
             request id, optional: BYTES
             all as JSON, or as bytes behind it
    outputs  the task's columns, the score first, or the ones that the caller names
             as JSON, or as bytes behind it
             `parameters.degraded`: what any of the instances lacked
             `parameters.versions`: the version per instance, when more than one answered

The route decides which versions answer, not the caller. A caller can name only the primary. This is
the version with the most traffic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec
from fastapi import FastAPI, Request, Response

from dojo import __version__
from services.gateway.http.api import Endpoint, Gateway
from services.gateway.messages import binary_tensors
from services.gateway.messages.outputs import WantedOutput, outputs_of, wanted_outputs
from services.gateway.messages.problems import Problem, problem_response
from services.gateway.messages.requests import Instance
from services.gateway.messages.tensors import (
    decode_request,
    in_tensors,
    instances_of,
    tensors_of,
)
from services.gateway.messages.trace import trace_of, traced
from services.gateway.messages.v2_structs import InferAnswer
from services.gateway.versions.arms import ServedRoute, describe

SHOWN_ERRORS = 5  # in the text for V2 clients, as in a problem's detail

_encode = msgspec.json.Encoder().encode

_Handler = TypeVar("_Handler", bound=Callable[..., Any])


def add_routes(app: FastAPI, gateway: Gateway) -> None:
    def route(path: str, method: str = "GET") -> Callable[[_Handler], _Handler]:
        return app.api_route(path, methods=[method], tags=["open inference protocol v2"])

    @route("/v2")
    async def server() -> Response:
        """The server's name, version and extensions."""
        return _json(
            {
                "name": "mlops-dojo-gateway",
                "version": __version__,
                "extensions": ["binary_tensor_data"],
            }
        )

    @route("/v2/health/live")
    async def live() -> Response:
        """Alive."""
        return _json({"live": True})

    @route("/v2/health/ready")
    async def ready() -> Response:
        """Ready once each model with a version serves it."""
        is_ready = gateway.models.ready
        return _json(
            {"ready": is_ready}, HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE
        )

    async def metadata(request: Request) -> Response:
        """A model's tensors, its answering versions, and the route between them."""
        try:
            route = _route(gateway, request)
        except Problem as problem:
            return _error(problem)
        name = request.path_params["model"]
        return _json(
            {
                "name": name,
                "versions": [arm.version for arm in route.live if arm.arm.weight] if route else [],
                "platform": "onnxruntime_onnx",
                "parameters": {"route": describe(route)} if route else {},
                **tensors_of(gateway.endpoint(name).schema, gateway.endpoint(name).answers),
            }
        )

    async def model_ready(request: Request) -> Response:
        """Ready when a version of the model serves."""
        try:
            route = _route(gateway, request)
        except Problem as problem:
            return _error(problem)
        document = {"name": request.path_params["model"], "ready": route is not None}
        return _json(document, HTTPStatus.OK if route else HTTPStatus.SERVICE_UNAVAILABLE)

    async def infer(request: Request) -> Response:
        """Score each row of the tensors."""
        model, asked = request.path_params["model"], request.path_params.get("version")
        sent_id: str | None = None
        wanted: Sequence[WantedOutput] = ()

        def decode(endpoint: Endpoint, body: bytes) -> Sequence[Instance]:
            nonlocal sent_id, wanted
            document = decode_request(body, request.headers.get(binary_tensors.HEADER))
            sent_id, wanted = document.id, wanted_outputs(endpoint.answers, document)
            return instances_of(endpoint.schema, document.inputs, document.id)

        trace_id = trace_of(request.scope["headers"])
        try:
            route = _route(gateway, request) if asked else None
            answers = await gateway.answer(
                model,
                request.scope,
                request.receive,
                trace_id,
                decode,
                route.pinned() if route else None,
            )
        except Problem as problem:
            return traced(_error(in_tensors(problem)), trace_id)
        reasons = sorted({reason for answer in answers for reason in answer.degraded or ()})
        versions = list(dict.fromkeys(answer.version for answer in answers))
        parameters = {
            **({"degraded": ",".join(reasons)} if reasons else {}),
            **(
                {"versions": ",".join(answer.version for answer in answers)}
                if len(versions) > 1
                else {}
            ),
        }
        outputs, behind = outputs_of(wanted, answers)
        request_id = msgspec.UNSET if sent_id is None else sent_id
        answer = InferAnswer(model, answers[0].version, parameters, outputs, request_id)
        return traced(_with_bytes(answer, behind) if behind else _json(answer), trace_id)

    for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        route(f"{path}/ready")(model_ready)
        route(f"{path}/infer", "POST")(infer)
        route(path)(metadata)


def _route(gateway: Gateway, request: Request) -> ServedRoute | None:
    """Return the route of a path.

    Raises:
        Problem: 404. The model is unknown, or the version is not its primary.
    """
    model, version = request.path_params["model"], request.path_params.get("version")
    gateway.endpoint(model)
    route = gateway.models.serving.get(model)
    if version is not None and (route is None or route.primary.version != version):
        serving = f"version {route.primary.version} does" if route else "no version does"
        raise Problem(
            HTTPStatus.NOT_FOUND,
            "version-not-served",
            f"version {version[:20]!r} of {model} does not serve; {serving}",
        )
    return route


def _error(problem: Problem) -> Response:
    """Return the problem with the member `error`. V2 clients show nothing else of it."""
    shown = [
        f"{error.field}: found {error.found}, expected {error.expected}"
        for error in problem.errors[:SHOWN_ERRORS]
    ]
    return problem_response(problem, "; ".join([problem.detail, *shown]))


def _with_bytes(answer: InferAnswer, behind: bytes) -> Response:
    head = _encode(answer)
    headers = {binary_tensors.HEADER: str(len(head))}
    return Response(head + behind, headers=headers, media_type=binary_tensors.CONTENT_TYPE)


def _json(
    document: Mapping[str, object] | InferAnswer, status: HTTPStatus = HTTPStatus.OK
) -> Response:
    return Response(_encode(document), int(status), media_type="application/json")
