"""The Open Inference Protocol V2 over HTTP and gRPC: all that does not depend on the carrier.

The route decides which versions answer, not the caller. A caller can name only the primary. This is
the version with the most traffic.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec

from dojo import __version__
from services.gateway.http.api import Endpoint, Gateway
from services.gateway.messages.answers import CACHED_SECONDS, age_of
from services.gateway.messages.outputs import WantedOutput, outputs_of, wanted_outputs
from services.gateway.messages.problems import Problem
from services.gateway.messages.requests import Instance
from services.gateway.messages.tensors import in_tensors, instances_of, tensors_of
from services.gateway.messages.trace import Headers
from services.gateway.messages.v2_structs import InferAnswer, InferRequest
from services.gateway.versions.arms import ServedRoute, describe

SHOWN_ERRORS = 5  # in the text for V2 clients, as in a problem's detail

Body = TypeVar("Body")


def server_metadata() -> dict[str, Any]:
    """Return the server's name, version and extensions."""
    return {
        "name": "mlops-dojo-gateway",
        "version": __version__,
        "extensions": ["binary_tensor_data"],
    }


def model_metadata(gateway: Gateway, model: str, version: str | None) -> dict[str, Any]:
    """Return a model's tensors, its answering versions, and the route between them.

    Raises:
        Problem: As `route_of`.
    """
    route, endpoint = route_of(gateway, model, version), gateway.endpoint(model)
    return {
        "name": model,
        "versions": [arm.version for arm in route.live if arm.arm.weight] if route else [],
        "platform": "onnxruntime_onnx",
        "parameters": {"route": describe(route)} if route else {},
        **tensors_of(endpoint.schema, endpoint.answers),
    }


async def infer(
    gateway: Gateway,
    model: str,
    version: str | None,
    headers: Headers,
    read: Callable[[], Awaitable[Body]],
    trace_id: str,
    parse: Callable[[Body], InferRequest],
) -> tuple[InferAnswer, bytes]:
    """Score each row of the tensors. Return the answer, and the outputs that follow it as bytes.

    Args:
        version: The version that the caller named.
        headers: Of the request, as ASGI has them.
        read: Returns the request's body.
        parse: Returns the message in a body.

    Raises:
        Problem: The request is refused.
    """
    sent_id: str | None = None
    wanted: Sequence[WantedOutput] = ()

    def decode(endpoint: Endpoint, body: Body) -> Sequence[Instance]:
        nonlocal sent_id, wanted
        document = parse(body)
        sent_id, wanted = document.id, wanted_outputs(endpoint.answers, document)
        return instances_of(endpoint.schema, document.inputs, document.id)

    route = route_of(gateway, model, version) if version else None
    pinned = route.pinned() if route else None
    try:
        answers = await gateway.answer(model, headers, read, trace_id, decode, pinned)
    except Problem as problem:
        raise in_tensors(problem) from problem
    reasons = sorted({reason for answer in answers for reason in answer.degraded or ()})
    versions = list(dict.fromkeys(answer.version for answer in answers))
    age = age_of(answers)
    parameters = {
        **({"degraded": ",".join(reasons)} if reasons else {}),
        **(
            {"versions": ",".join(answer.version for answer in answers)}
            if len(versions) > 1
            else {}
        ),
        **({} if age is None else {CACHED_SECONDS: f"{age:g}"}),
    }
    outputs, behind = outputs_of(wanted, answers)
    request_id = msgspec.UNSET if sent_id is None else sent_id
    return InferAnswer(model, answers[0].version, parameters, outputs, request_id), behind


def route_of(gateway: Gateway, model: str, version: str | None) -> ServedRoute | None:
    """Return a model's route. None while the model has no version.

    Raises:
        Problem: 404. The model is unknown, or the version is not its primary. 503. Its spec is
            wrong.
    """
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


def told(problem: Problem) -> str:
    """Return detail and errors as one text. V2 clients show nothing else of a problem."""
    shown = [
        f"{error.field}: found {error.found}, expected {error.expected}"
        for error in problem.errors[:SHOWN_ERRORS]
    ]
    return "; ".join([problem.detail, *shown])
