"""Commands that need the world's past wait until the simulator has written it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from dojo.cli.world.past import wait_for_past
from dojo.core.settings import Settings, load_settings
from tests.support.servers import free_port


@contextmanager
def simulator(states: list[str]) -> Iterator[Settings]:
    """Answer /healthz with each state in turn, and then with the last one."""
    left = list(states)

    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state = left.pop(0) if len(left) > 1 else left[0]
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"state": state}).encode())

        def log_message(self, format: str, *args: object) -> None:
            """Keep the test's output quiet."""

    server = HTTPServer(("127.0.0.1", 0), Health)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield load_settings(simulator_port=server.server_port)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        assert len(left) == 1, "it did not wait for the past"


def test_it_waits_and_says_so_once(capsys: pytest.CaptureFixture[str]) -> None:
    with simulator(["building history: 1%", "building history: 99%", "paused"]) as settings:
        wait_for_past(settings)
    assert capsys.readouterr().err.count("waiting for it") == 1


def test_nothing_is_said_where_the_past_is_there_or_no_simulator_runs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with simulator(["live"]) as settings:
        wait_for_past(settings)
    wait_for_past(load_settings(simulator_port=free_port()))
    assert capsys.readouterr().err == ""
