"""Refusals as RFC 9457 problem details. Each names the field, the value found and the right one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Annotated

import msgspec
from starlette.responses import Response

CONTENT_TYPE = "application/problem+json"


class FieldError(msgspec.Struct, frozen=True):
    """One wrong field: its path (`instances[0].amount`), the value found and the expected one."""

    field: str
    found: str
    expected: str


class ProblemDocument(msgspec.Struct, frozen=True, omit_defaults=True):
    """Problem details as in RFC 9457."""

    type: Annotated[str, msgspec.Meta(extra_json_schema={"format": "uri"})]
    title: str
    status: int
    detail: str
    errors: tuple[FieldError, ...] = ()
    error: Annotated[
        str,
        msgspec.Meta(description="Detail and errors as text, for Open Inference Protocol clients."),
    ] = ""


class Problem(Exception):  # noqa: N818 - RFC 9457's word
    """A refused request.

    Args:
        slug: The last part of the problem's `type`. Stable for programs.
    """

    def __init__(
        self,
        status: HTTPStatus,
        slug: str,
        detail: str,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.slug = slug
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})

    def document(self, error: str = "") -> ProblemDocument:
        slug, status = f"urn:mlops-dojo:problem:{self.slug}", self.status
        return ProblemDocument(slug, status.phrase, int(status), self.detail, self.errors, error)


def problem_response(problem: Problem, error: str = "") -> Response:
    """Return the response for a problem.

    Args:
        error: The document's member of this name.
    """
    return Response(
        msgspec.json.encode(problem.document(error)),
        int(problem.status),
        problem.headers,
        CONTENT_TYPE,
    )


def unknown_model(model: str, known: Sequence[str]) -> Problem:
    return Problem(
        HTTPStatus.NOT_FOUND,
        "unknown-model",
        f"no model {model[:80]!r}; there are: {', '.join(known)}",
    )


def wrong_spec(model: str, fault: str) -> Problem:
    """503, because the caller is right and the platform cannot answer."""
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "wrong-spec",
        f"{model} is left out, because its spec was wrong when the gateway started: {fault}",
    )


def body_too_large(limit: int) -> Problem:
    return Problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "body-too-large",
        f"the body may have at most {limit} bytes",
    )


def encoded_body(encoding: str) -> Problem:
    return Problem(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "encoded-body",
        f"the body is encoded with {encoding[:20]!r}; send it as it is",
    )


def body_too_slow(seconds: float) -> Problem:
    # The rest of the body may still come, and bytes after it would be ambiguous.
    headers = {"Connection": "close"}
    return Problem(
        HTTPStatus.REQUEST_TIMEOUT,
        "body-too-slow",
        f"the body did not arrive within {seconds:g} s",
        headers=headers,
    )


def malformed_json(reason: str) -> Problem:
    return Problem(HTTPStatus.BAD_REQUEST, "malformed-json", f"the body is not JSON: {reason}")


def invalid_request(errors: Sequence[FieldError]) -> Problem:
    fields = ", ".join(error.field for error in errors[:5])
    return Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-request", f"wrong fields: {fields}", errors
    )


def overloaded(limit: str, retry_after_seconds: int) -> Problem:
    """503 for a request beyond a limit, such as `250 requests (DOJO_MAX_IN_FLIGHT)`."""
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "overloaded",
        f"more requests at a time than can be answered in time; the limit is {limit}",
        headers={"Retry-After": str(retry_after_seconds)},
    )
