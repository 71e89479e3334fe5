"""Logs, health and metrics, the same way in every process."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple, TextIO, cast

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest

# A supervisor takes a process as dead that says nothing on its health within this time, seconds.
HEALTH_TIMEOUT_SECONDS = 2.0

# (healthy, details). Details are small JSON values that `dojo status` shows.
Health = Callable[[], tuple[bool, Mapping[str, object]]]

# A sender that stops in the middle gives its thread back, seconds.
PATIENCE_SECONDS = 10.0

# Alertmanager's notification of a thousand alerts. Longer bodies are refused.
LONGEST_BODY_BYTES = 1_048_576


class Reply(NamedTuple):
    """An HTTP status and a line of text."""

    status: int
    text: str


# Answers the body of a POST. Called on a thread of its own.
Post = Callable[[bytes], Reply]


def configure_logging(process: str, level: str = "info") -> None:
    """Log one JSON object a line on stderr, with the process' name and the wall time.

    Call it once, from a composition root.
    """
    logging.basicConfig(level=level.upper(), stream=sys.stderr, format="%(name)s: %(message)s")
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _BestEffort(sys.stderr))),
    )
    structlog.contextvars.bind_contextvars(process=process)


class _BestEffort:
    """A stream that loses a line when a write fails.

    A process that reports a full disk may have its log on that disk.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()


class HealthServer:
    """Serves `/healthz` (JSON, 200 or 503), `/metrics` and POSTs, on threads of its own.

    Args:
        posts: Function that answers a POST, by path.
    """

    def __init__(
        self,
        host: str,
        port: int,
        health: Health,
        registry: CollectorRegistry = REGISTRY,
        posts: Mapping[str, Post] = {},
    ) -> None:
        class Handler(BaseHTTPRequestHandler):
            timeout = PATIENCE_SECONDS

            def do_GET(self) -> None:
                if self.path == "/metrics":
                    self._answer(200, CONTENT_TYPE_LATEST, generate_latest(registry))
                elif self.path == "/healthz":
                    healthy, details = health()
                    body = json.dumps(
                        {"status": "ok" if healthy else "failing", **details}, default=str
                    ).encode()
                    self._answer(200 if healthy else 503, "application/json", body)
                else:
                    self._say(404, "try /healthz or /metrics")

            def do_POST(self) -> None:
                length = self.headers.get("Content-Length", "")
                if (answer := posts.get(self.path)) is None:
                    self._say(404, f"POST to {', '.join(posts) or 'nothing here'}")
                elif not length.isdecimal():
                    self._say(411, "Content-Length: expected a number of bytes")
                elif int(length) > LONGEST_BODY_BYTES:
                    self._say(413, f"at most {LONGEST_BODY_BYTES} bytes")
                else:
                    self._say(*answer(self.rfile.read(int(length))))

            def _say(self, status: int, text: str) -> None:
                self._answer(status, "text/plain", f"{text}\n".encode())

            def _answer(self, status: int, content_type: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Scrapes are no news."""

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="health", daemon=True
        )

    def __enter__(self) -> HealthServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
