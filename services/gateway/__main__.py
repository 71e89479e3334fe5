"""`python -m services.gateway`: the gateway as a process. Settings are in docs/settings.md."""

from __future__ import annotations

import sys

from dojo.core.service import run_process
from dojo.core.settings import Settings
from services.gateway.workers.folders import prepare


def serve_requests(settings: Settings) -> int:
    directory = settings.home / "gateway"
    if settings.gateway_workers > 1:
        from services.gateway.workers.parent import run_workers

        return run_workers(settings, directory)
    # Here, because the parent of workers serves no requests itself and stays small.
    from services.gateway.app import build
    from services.gateway.http.server import run_server

    prepare(directory, 1)
    run_server(build(settings, directory), settings.host, settings.gateway_port)
    return 0


def main() -> int:
    return run_process("gateway", serve_requests)


if __name__ == "__main__":
    sys.exit(main())
