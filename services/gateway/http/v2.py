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
             `parameters.cached_seconds`: the age of a repeated result, world seconds

`inference` has what does not depend on HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec
from fastapi import FastAPI, Request, Response

from services.gateway.http import inference
from services.gateway.http.api import Gateway
from services.gateway.messages import binary_tensors
from services.gateway.messages.problems import Problem, problem_response
from services.gateway.messages.requests import read_body
from services.gateway.messages.tensors import decode_request
from services.gateway.messages.trace import trace_of, traced
from services.gateway.messages.v2_structs import InferAnswer, InferRequest
from services.gateway.state import READY, GatewayState

_encode = msgspec.json.Encoder().encode

_Handler = TypeVar("_Handler", bound=Callable[..., Any])


def add_routes(app: FastAPI, gateway: Gateway, state: GatewayState) -> None:
    def route(path: str, method: str = "GET") -> Callable[[_Handler], _Handler]:
        return app.api_route(path, methods=[method], tags=["open inference protocol v2"])

    @route("/v2")
    async def server() -> Response:
        """The server's name, version and extensions."""
        return _json(inference.server_metadata())

    @route("/v2/health/live")
    async def live() -> Response:
        """Alive."""
        return _json({"live": True})

    @route("/v2/health/ready")
    async def ready() -> Response:
        """Ready once each model with a version serves it."""
        is_ready = (await state.readiness())["status"] == READY
        return _json(
            {"ready": is_ready}, HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE
        )

    async def metadata(request: Request) -> Response:
        """A model's tensors, its answering versions, and the route between them."""
        try:
            return _json(inference.model_metadata(gateway, *_asked(request)))
        except Problem as problem:
            return _error(problem)

    async def model_ready(request: Request) -> Response:
        """Ready when a version of the model serves."""
        model, version = _asked(request)
        try:
            serves = inference.route_of(gateway, model, version) is not None
        except Problem as problem:
            return _error(problem)
        status = HTTPStatus.OK if serves else HTTPStatus.SERVICE_UNAVAILABLE
        return _json({"name": model, "ready": serves}, status)

    async def infer(request: Request) -> Response:
        """Score each row of the tensors."""
        model, version = _asked(request)
        scope = request.scope
        json_length = request.headers.get(binary_tensors.HEADER)

        def parse(body: bytes) -> InferRequest:
            return decode_request(body, json_length)

        trace_id = trace_of(scope["headers"])
        read = partial(read_body, scope, request.receive, gateway.max_body_bytes)
        try:
            answer, behind = await inference.infer(
                gateway, model, version, scope["headers"], read, trace_id, parse
            )
        except Problem as problem:
            return traced(_error(problem), trace_id)
        return traced(_with_bytes(answer, behind) if behind else _json(answer), trace_id)

    for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        route(f"{path}/ready")(model_ready)
        route(f"{path}/infer", "POST")(infer)
        route(path)(metadata)


def _asked(request: Request) -> tuple[str, str | None]:
    """Return the model and the version of a path."""
    return request.path_params["model"], request.path_params.get("version")


def _error(problem: Problem) -> Response:
    """Return the problem with the member `error`. V2 clients show nothing else of it."""
    return problem_response(problem, inference.told(problem))


def _with_bytes(answer: InferAnswer, behind: bytes) -> Response:
    head = _encode(answer)
    headers = {binary_tensors.HEADER: str(len(head))}
    return Response(head + behind, headers=headers, media_type=binary_tensors.CONTENT_TYPE)


def _json(
    document: Mapping[str, object] | InferAnswer, status: HTTPStatus = HTTPStatus.OK
) -> Response:
    return Response(_encode(document), int(status), media_type="application/json")
