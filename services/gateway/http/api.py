"""The prediction API, health and metrics over HTTP. `predictor` makes the answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import TypeVar

import msgspec
import structlog
from fastapi import FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from services.gateway.http.admission import Admission
from services.gateway.http.refusals import Refusals
from services.gateway.messages.answers import Answer, AnswerSchema
from services.gateway.messages.problems import (
    Problem,
    problem_response,
    unknown_model,
    wrong_spec,
)
from services.gateway.messages.requests import Instance, InstanceSchema, read_body
from services.gateway.messages.trace import Headers, response_header, trace_of, traced
from services.gateway.metrics import UNKNOWN_MODEL, GatewayMetrics
from services.gateway.predictor import Predictor
from services.gateway.state import READY, GatewayState, NoStateError
from services.gateway.time_guard import TimeGuard
from services.gateway.versions.arms import ServedRoute
from services.gateway.versions.models import Models

PREDICT_PATH = "/v1/models/{model}:predict"

# The count of requests whose caller left before the answer, or set an earlier deadline. Web servers
# use this number too. It is no 5xx, because it says nothing about this process.
CALLER_GONE = 499

Body = TypeVar("Body")

_log = structlog.get_logger("gateway.api")
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One model's way from bytes to answers."""

    schema: InstanceSchema
    answers: AnswerSchema
    predictor: Predictor


class Gateway:
    """The shared part of all surfaces: models, endpoints and the bookkeeping per request."""

    def __init__(
        self,
        endpoints: Mapping[str, Endpoint],
        models: Models,
        metrics: GatewayMetrics,
        times: TimeGuard,
        max_body_bytes: int,
        admission: Admission,
        faults: Mapping[str, str],
    ) -> None:
        """Set the gateway up.

        Args:
            faults: Model -> what is wrong with its spec. These models have no endpoint.
        """
        self.endpoints = endpoints
        self.models = models
        self.metrics = metrics
        self.times = times
        self.max_body_bytes = max_body_bytes
        self.admission = admission
        self.faults = faults
        self._refusals = Refusals()
        self._counted = {
            (name, code): metrics.requests.labels(name, str(code))
            for name in endpoints
            for code in (200, 422)
        }  # the usual codes; others are bound when they happen
        self._latency = {name: metrics.latency.labels(name) for name in endpoints}
        self._decoding = {name: metrics.layers.labels(name, "decode") for name in endpoints}

    def endpoint(self, model: str) -> Endpoint:
        """Return a model's endpoint.

        Raises:
            Problem: 404. Or 503, when the model's spec is wrong.
        """
        try:
            return self.endpoints[model]
        except KeyError:
            raise self.missing(model) from None

    def missing(self, model: str) -> Problem:
        """Return the refusal of a model without an endpoint."""
        if fault := self.faults.get(model):
            return wrong_spec(model, fault)
        return unknown_model(model, [*self.endpoints, *self.faults])

    def count(self, model: str, code: int) -> None:
        known = model in self.endpoints or model in self.faults
        name = model if known else UNKNOWN_MODEL
        counted = self._counted.get((name, code)) or self.metrics.requests.labels(name, str(code))
        counted.inc()

    async def answer(
        self,
        model: str,
        headers: Headers,
        read: Callable[[], Awaitable[Body]],
        trace_id: str,
        decode: Callable[[Endpoint, Body], Sequence[Instance]],
        route: ServedRoute | None = None,
    ) -> Sequence[Answer]:
        """Read, decode and predict within the limits. Every request is counted and timed.

        Args:
            headers: Of the request, as ASGI has them.
            read: Returns the request's body, within the limit of its size.
            route: The route to ask, when the caller chose one. None takes the serving route.

        Raises:
            Problem: The request is refused.
            CancelledError: The caller has gone.
        """
        code = int(HTTPStatus.INTERNAL_SERVER_ERROR)
        try:
            endpoint = self.endpoint(model)
            body = await read()
            # The deadline covers the gateway's own time. A slow upload does not count.
            started = time.perf_counter()
            bulkhead = self.admission.enter(model)
            try:
                instances = decode(endpoint, body)
                self.times.check(endpoint.schema.time_input, instances, headers)
                self._decoding[model].observe(time.perf_counter() - started)
                route = route or self.models.serving.get(model)
                answers = await endpoint.predictor.predict(route, instances, started, trace_id)
            finally:
                self.admission.leave(bulkhead)
            code = 200
            self._latency[model].observe(time.perf_counter() - started)
            return answers
        except Problem as problem:
            code = int(problem.status)
            self._refusals.note(model, problem, headers)
            raise
        except asyncio.CancelledError:
            code = CALLER_GONE
            raise
        finally:
            self.count(model, code)

    async def predict(self, model: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one prediction request, as an ASGI application."""
        headers = scope["headers"]
        trace_id = trace_of(headers)
        read = partial(read_body, scope, receive, self.max_body_bytes)
        try:
            answers = await self.answer(model, headers, read, trace_id, decode_instances)
        except Problem as problem:
            response = problem_response(problem)
        except Exception as error:
            response = failed(scope["path"], error, trace_id)
        else:
            await send_json(send, _encode({"predictions": answers}), response_header(trace_id))
            return
        await traced(response, trace_id)(scope, receive, send)


async def send_json(send: Send, body: bytes, *further: tuple[bytes, bytes]) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        *further,
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def decode_instances(endpoint: Endpoint, body: bytes) -> Sequence[Instance]:
    return endpoint.schema.decode(body)


def failed(path: str, error: Exception, trace_id: str) -> Response:
    """Return the answer to a request that met a defect of this process."""
    return problem_response(defect(path, error, trace_id))


def defect(path: str, error: Exception, trace_id: str) -> Problem:
    """Log a defect of this process. Return what its caller is told."""
    _log.error("a request failed", path=path, trace_id=trace_id, exc_info=error)
    return Problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "internal-error",
        "the gateway failed; its log has the reason",
    )


@dataclass(frozen=True, slots=True)
class DirectPaths:
    """An ASGI application with a table of paths in front of FastAPI.

    FastAPI's routing and middleware take longer than the features and the score together.

    Attributes:
        app: Serves all other paths.
        posts: Path -> the ASGI application of its POST requests.
    """

    app: FastAPI
    posts: Mapping[str, ASGIApp]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in self.posts:
            await self.posts[scope["path"]](scope, receive, send)
        else:
            await self.app(scope, receive, send)


def direct_paths(app: FastAPI, gateway: Gateway) -> DirectPaths:
    """Return the application with a direct path to each model's predictions."""
    return DirectPaths(
        app,
        {
            PREDICT_PATH.format(model=model): partial(gateway.predict, model)
            for model in gateway.endpoints
        },
    )


def add_routes(app: FastAPI, gateway: Gateway, state: GatewayState) -> None:
    """Add the prediction API, health and metrics.

    Args:
        state: Of the whole gateway.
    """

    # Only models without an endpoint come here. The path is in the document that `docs` completes.
    @app.post(PREDICT_PATH, tags=["predictions"])
    async def predict(request: Request) -> Response:
        """Score each instance. `degraded` names the missing parts of an answer."""
        model = request.path_params["model"]
        missing = gateway.missing(model)
        gateway.count(model, missing.status)
        return traced(problem_response(missing), trace_of(request.scope["headers"]))

    @app.get("/healthz", tags=["health"])
    async def healthz() -> Response:
        """Alive. The details name degraded parts, which are no reason to restart the gateway."""
        return _json(await state.health())

    @app.get("/readyz", tags=["health"])
    async def readyz() -> Response:
        """Ready once each model with a version serves it, verified.

        The answer also names models without a version. They answer by their fallback. A model whose
        spec is wrong has its fault as `spec`. It answers nothing, and the others are ready.
        """
        said = await state.readiness()
        ready = said["status"] == READY
        return _json(said, HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE)

    @app.get("/metrics", tags=["health"])
    async def metrics() -> Response:
        """Prometheus metrics."""
        return Response(await state.metrics(), media_type=CONTENT_TYPE_LATEST)


def add_error_handlers(app: FastAPI) -> None:
    """Answer all other errors as problems too: wrong path, wrong method, and our own bugs."""

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        status = HTTPStatus(error.status_code)
        detail = f"{request.method} {request.url.path}: {status.phrase.lower()}"
        return problem_response(
            Problem(status, status.phrase.lower().replace(" ", "-"), detail, headers=error.headers)
        )

    @app.exception_handler(NoStateError)
    async def no_state(_: Request, error: NoStateError) -> Response:
        return problem_response(Problem(HTTPStatus.SERVICE_UNAVAILABLE, "no-state", str(error)))

    @app.exception_handler(Exception)
    async def bug(request: Request, error: Exception) -> Response:
        trace_id = trace_of(request.scope["headers"])
        return traced(failed(request.url.path, error, trace_id), trace_id)


def _json(document: Mapping[str, object], status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(_encode(document), int(status), media_type="application/json")
