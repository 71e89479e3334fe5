"""The receiver's HTTP: POST /chat, /pager and /watchdog beside /healthz and /metrics."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest

from services.receiver.receiver import CHANNELS, Receiver

# A notification of a thousand alerts; longer ones are no notifications.
LONGEST_BODY_BYTES = 1_048_576

# A sender that stops in the middle gives its thread back, seconds.
PATIENCE_SECONDS = 10.0


class Server:
    """Serves on a thread of its own, one more per request."""

    def __init__(self, host: str, port: int, receiver: Receiver, registry: CollectorRegistry = REGISTRY) -> None:
        class Handler(BaseHTTPRequestHandler):
            timeout = PATIENCE_SECONDS

            def do_GET(self) -> None:
                if self.path == "/metrics":
                    self._answer(200, CONTENT_TYPE_LATEST, generate_latest(registry))
                elif self.path == "/healthz":
                    healthy, details = receiver.health()
                    body = json.dumps({"status": "ok" if healthy else "failing", **details}).encode()
                    self._answer(200 if healthy else 503, "application/json", body)
                else:
                    self._answer(404, "text/plain", b"try /healthz or /metrics\n")

            def do_POST(self) -> None:
                channel = next((name for name in CHANNELS if self.path == f"/{name}"), None)
                if channel is None:
                    self._answer(404, "text/plain", b"alerts go to /chat, /pager or /watchdog\n")
                    return
                length = self.headers.get("Content-Length", "")
                if not length.isdecimal():
                    self._answer(411, "text/plain", b"Content-Length: expected a number of bytes\n")
                elif int(length) > LONGEST_BODY_BYTES:
                    self._answer(413, "text/plain", f"at most {LONGEST_BODY_BYTES} bytes\n".encode())
                else:
                    answer = receiver.receive(channel, self.rfile.read(int(length)))
                    self._answer(answer.status, "text/plain", f"{answer.text}\n".encode())

            def _answer(self, status: int, content_type: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """The receiver says what arrived; scrapes are no news."""

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="http", daemon=True)

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
