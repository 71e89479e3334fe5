"""One id from a request to its line in the prediction log, as W3C Trace Context has it.

A caller's `traceparent` header names the trace. Without one, the gateway begins a trace. The answer
carries the id in `traceresponse`, the prediction log in `trace_id`.
"""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Iterable

from starlette.responses import Response

Headers = Iterable[tuple[bytes, bytes]]

RESPONSE_HEADER = b"traceresponse"

# version, trace id, caller's span, flags. Later versions may append fields.
_PARENT = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)

# Unique without a system call per request, by 64 random bits per process and a counter.
_prefix = secrets.token_hex(8)
_numbers = itertools.count(1)


def trace_of(headers: Headers) -> str:
    """Return the id of a request's trace, 32 hexadecimal digits.

    An invalid `traceparent` counts as none, as the standard demands.
    """
    for name, value in headers:
        if name == b"traceparent" and (parent := _PARENT.match(value)):
            return parent[1].decode()
    return f"{_prefix}{next(_numbers):016x}"


def response_header(trace_id: str) -> tuple[bytes, bytes]:
    """Return the header that tells the caller the trace. The request is its only span."""
    return RESPONSE_HEADER, f"00-{trace_id}-{trace_id[16:]}-01".encode()


def traced(response: Response, trace_id: str) -> Response:
    """Add the header to a response, and return it."""
    response.raw_headers.append(response_header(trace_id))
    return response
