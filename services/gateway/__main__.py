"""`python -m services.gateway`: the gateway as a process. Settings are in docs/settings.md."""

from __future__ import annotations

import os
import signal
import sys

import uvicorn

from dojo.core.service import run_process
from dojo.core.settings import Settings
from services.gateway.app import build
from services.gateway.http.server import SHUTDOWN_SECONDS, DrainingServer

# A waiting thread gets Python's interpreter lock after this time at the earliest. The default of
# 5 ms would delay requests by up to 5 ms while the registry thread works.
THREAD_SWITCH_SECONDS = 0.0005


def serve_requests(settings: Settings) -> int:
    app = build(settings)
    sys.setswitchinterval(THREAD_SWITCH_SECONDS)
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    # uvicorn raises the signal again after its clean end. Ignored, so that the exit code is 0.
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
        log_level="warning",  # the app itself logs start and end, as JSON
        server_header=False,
        proxy_headers=False,  # the gateway needs no caller address
        # Longer than the usual 60 s of load balancers. The client then closes first, so no
        # connection ends in the middle of a request.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    DrainingServer(config).run()
    return 0


def main() -> int:
    return run_process("gateway", serve_requests)


if __name__ == "__main__":
    sys.exit(main())
