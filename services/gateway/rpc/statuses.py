"""Refusals as gRPC statuses, with the text that V2 clients get over HTTP."""

from __future__ import annotations

from http import HTTPStatus

import grpc

from services.gateway.http.inference import told
from services.gateway.messages.problems import Problem

# gRPC's own clients wait this long before they repeat a call (gRFC A6). In milliseconds.
RETRY_AFTER = "grpc-retry-pushback-ms"

_CODES = {
    HTTPStatus.BAD_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
    HTTPStatus.UNPROCESSABLE_ENTITY: grpc.StatusCode.INVALID_ARGUMENT,
    HTTPStatus.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    HTTPStatus.SERVICE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
}


def status_of(problem: Problem) -> tuple[grpc.StatusCode, str, tuple[tuple[str, str], ...]]:
    """Return code, text and trailing metadata.

    A problem that names a time to ask again is RESOURCE_EXHAUSTED.
    """
    if seconds := problem.headers.get("Retry-After"):
        hint = ((RETRY_AFTER, str(1000 * int(seconds))),)
        return grpc.StatusCode.RESOURCE_EXHAUSTED, told(problem), hint
    return _CODES.get(problem.status, grpc.StatusCode.INTERNAL), told(problem), ()
