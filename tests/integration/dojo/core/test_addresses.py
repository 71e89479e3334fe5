"""Proxies: every library asks servers directly, in the platform's processes and their children."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

# Port 9 discards: a library that asks through it gets no answer.
NO_PROXY_ANSWERS = "http://127.0.0.1:9"

ASK = """
import sys, urllib.request, httpx, requests
url = sys.argv[1]
print(urllib.request.urlopen(url, timeout=5).read().decode())
print(requests.get(url, timeout=5).text)
print(httpx.get(url, timeout=5).text)
"""

# As the supervisor does: read the settings, then start another process.
START = f"""
import subprocess, sys
from dojo.core.settings import load_settings
load_settings()
sys.exit(subprocess.call([sys.executable, "-c", {ASK!r}, sys.argv[1]]))
"""


@pytest.fixture
def server() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"asked directly")

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    "proxies",
    [
        {"HTTP_PROXY": NO_PROXY_ANSWERS, "http_proxy": NO_PROXY_ANSWERS, "NO_PROXY": ""},
        {"ALL_PROXY": NO_PROXY_ANSWERS, "NO_PROXY": "example.com,[::1]", "no_proxy": "example.com"},
        {"all_proxy": "socks5h://127.0.0.1:9"},
    ],
)
def test_no_library_asks_through_a_proxy(server: str, proxies: dict[str, str]) -> None:
    clean = {
        name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")
    }
    asked = subprocess.run(
        [sys.executable, "-c", START, server],
        env=clean | proxies,
        capture_output=True,
        text=True,
        check=False,
    )
    assert asked.stdout.splitlines() == ["asked directly"] * 3, asked.stderr
