"""`python -m services.gateway`: the gateway as a process. Settings: DOJO_* (docs/settings.md)."""

from __future__ import annotations

import os
import signal
import sys

import uvicorn

from dojo.core.service import run_process
from dojo.core.settings import Settings
from services.gateway.app import build
from services.gateway.http.server import SHUTDOWN_SECONDS, DrainingServer

# Python hands the interpreter lock to a waiting thread at the earliest after this long. The default of 5 ms would add up to
# 5 ms to every request that meets the registry thread at work.
THREAD_SWITCH_SECONDS = 0.0005


def serve_requests(settings: Settings) -> int:
    app = build(settings)
    sys.setswitchinterval(THREAD_SWITCH_SECONDS)
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    # uvicorn raises the signal again after its clean end; ignored here, so that a clean end exits with 0.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.gateway_port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        log_level="warning",  # its start and end are told by the app, as JSON
        server_header=False,
        proxy_headers=False,  # nothing here asks who the caller was
        timeout_keep_alive=75,  # longer than load balancers' usual 60 s: the client side closes first, never mid-request
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    DrainingServer(config).run()
    return 0


def main() -> int:
    return run_process("gateway", serve_requests)


if __name__ == "__main__":
    sys.exit(main())
