"""The gRPC server of the Open Inference Protocol V2, on the event loop of the HTTP server.

It turns messages into the structs of the HTTP door. `http.inference` answers both, so admission,
deadlines, counts and the prediction log are the same. A caller whose own deadline passes gets
DEADLINE_EXCEEDED from gRPC, and its call is cancelled here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

import grpc
import grpc.aio

from services.gateway.http import inference
from services.gateway.http.api import Gateway, defect
from services.gateway.messages.problems import Problem
from services.gateway.messages.trace import RESPONSE_HEADER, Headers, response_header, trace_of
from services.gateway.rpc.convert import infer_request, infer_response
from services.gateway.rpc.protocol import CLASSES, METHODS, SERVICE, Message
from services.gateway.state import READY, GatewayState, NoStateError

# Calls in progress get this time to end when the gateway stops. Twice the shop's longest deadline,
# and within what the process has left after HTTP's shutdown.
GRACE_SECONDS = 2.0
# gRPC's own clients wait this long before they repeat a call (gRFC A6). In milliseconds.
RETRY_AFTER = "grpc-retry-pushback-ms"

_CODES = {
    HTTPStatus.BAD_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
    HTTPStatus.UNPROCESSABLE_ENTITY: grpc.StatusCode.INVALID_ARGUMENT,
    HTTPStatus.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    HTTPStatus.SERVICE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
}


class GrpcDoor:
    """Serves a gateway on a port of its own.

    Args:
        state: Of the whole gateway.
    """

    def __init__(self, gateway: Gateway, state: GatewayState) -> None:
        self._gateway, self._state = gateway, state
        self._server: Any = None

    async def open(self, host: str, port: int, is_shared: bool) -> None:
        """Begin to serve.

        Args:
            is_shared: Whether other workers of this gateway serve the port too.

        Raises:
            RuntimeError: The port is taken.
        """
        options = (
            ("grpc.max_receive_message_length", self._gateway.max_body_bytes),
            # Linux would let two gateways share a port, and each would get half of the calls.
            ("grpc.so_reuseport", int(is_shared)),
        )
        self._server = grpc.aio.server(options=options)
        answers = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "ModelInfer": self._model_infer,
        }
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                self._guarded(name, answers[name]),
                request_deserializer=CLASSES[f"{name}Request"].FromString,
                response_serializer=CLASSES[f"{name}Response"].SerializeToString,
            )
            for name in METHODS
        }
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, handlers),)
        )
        self._server.add_insecure_port(f"{host}:{port}")
        await self._server.start()

    async def close(self) -> None:
        """Refuse new calls, and return when those in progress have ended."""
        await self._server.stop(GRACE_SECONDS)

    def _guarded(
        self, name: str, answer: Callable[[Message, Headers, str], Awaitable[Message]]
    ) -> Callable[[Message, Any], Awaitable[Message]]:
        """Return the handler of a method, which refuses as gRPC does."""

        async def handle(request: Message, context: Any) -> Message:
            headers = [
                (key.encode(), value if isinstance(value, bytes) else value.encode())
                for key, value in context.invocation_metadata()
            ]
            trace_id = trace_of(headers)
            trace = ((RESPONSE_HEADER.decode(), response_header(trace_id)[1].decode()),)
            try:
                answered = await answer(request, headers, trace_id)
            except Problem as problem:
                refused = problem
            except Exception as error:
                refused = defect(f"{SERVICE}/{name}", error, trace_id)
            else:
                context.set_trailing_metadata(trace)
                return answered
            code, text, hints = status_of(refused)
            await context.abort(code, text, (*trace, *hints))

        return handle

    async def _server_live(self, request: Message, headers: Headers, trace_id: str) -> Message:
        return CLASSES["ServerLiveResponse"](live=True)

    async def _server_ready(self, request: Message, headers: Headers, trace_id: str) -> Message:
        try:
            said = await self._state.readiness()
        except NoStateError:
            return CLASSES["ServerReadyResponse"](ready=False)
        return CLASSES["ServerReadyResponse"](ready=said["status"] == READY)

    async def _model_ready(self, request: Message, headers: Headers, trace_id: str) -> Message:
        route = inference.route_of(self._gateway, request.name, request.version or None)
        return CLASSES["ModelReadyResponse"](ready=route is not None)

    async def _server_metadata(self, request: Message, headers: Headers, trace_id: str) -> Message:
        found = inference.server_metadata()
        # Bytes belong to the protocol here, and are no extension of it.
        return CLASSES["ServerMetadataResponse"](**{**found, "extensions": []})

    async def _model_metadata(self, request: Message, headers: Headers, trace_id: str) -> Message:
        found = inference.model_metadata(self._gateway, request.name, request.version or None)
        tensors = {
            side: [
                {name: one[name] for name in ("name", "datatype", "shape")} for one in found[side]
            ]
            for side in ("inputs", "outputs")
        }
        return CLASSES["ModelMetadataResponse"](
            name=found["name"], versions=found["versions"], platform=found["platform"], **tensors
        )

    async def _model_infer(self, request: Message, headers: Headers, trace_id: str) -> Message:
        async def read() -> Message:
            return request

        answer, behind = await inference.infer(
            self._gateway,
            request.model_name,
            request.model_version or None,
            headers,
            read,
            trace_id,
            infer_request,
        )
        return infer_response(answer, behind)


def status_of(problem: Problem) -> tuple[grpc.StatusCode, str, tuple[tuple[str, str], ...]]:
    """Return a refusal's code, its text as over HTTP, and trailing metadata.

    A problem that names a time to ask again is RESOURCE_EXHAUSTED.
    """
    text = inference.told(problem)
    if seconds := problem.headers.get("Retry-After"):
        hint = ((RETRY_AFTER, str(1000 * int(seconds))),)
        return grpc.StatusCode.RESOURCE_EXHAUSTED, text, hint
    return _CODES.get(problem.status, grpc.StatusCode.INTERNAL), text, ()
