"""A uvicorn server that stops without dropping a request.

On SIGTERM, plain uvicorn closes idle keep-alive connections, and a request on its way is lost. This
server first sends `Connection: close` with every answer, so that clients leave by themselves. It
closes connections that stay idle last.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys

import structlog
import uvicorn
from starlette.types import ASGIApp

# Time for clients to send one more request on each open connection. Callers at one request a
# second have left by then.
DRAIN_SECONDS = 1.0
# Limit for HTTP. The supervisor kills after 10 s. Then gRPC and the prediction log need up to
# 2 s each.
SHUTDOWN_SECONDS = 5

# A waiting thread gets Python's interpreter lock after this time at the earliest. The default of
# 5 ms would delay requests by up to 5 ms while the registry thread works.
THREAD_SWITCH_SECONDS = 0.0005

_log = structlog.get_logger("gateway.server")


def run_server(app: ASGIApp, host: str, port: int, listener: socket.socket | None = None) -> None:
    """Serve an application until SIGTERM or SIGINT.

    Args:
        listener: The port's socket, when the parent of several workers has bound it.
    """
    sys.setswitchinterval(THREAD_SWITCH_SECONDS)
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    # uvicorn raises the signal again after its clean end. Ignored, so that the exit code is 0.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
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
    DrainingServer(config).run(None if listener is None else [listener])


class DrainingServer(uvicorn.Server):
    """uvicorn.Server with a drain before its own shutdown."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        state = self.server_state
        _log.info("stopping: draining connections", connections=len(state.connections))
        # For every request from now on.
        state.default_headers = [*state.default_headers, (b"connection", b"close")]
        for connection in state.connections:
            cycle = getattr(connection, "cycle", None)
            if cycle is not None and not cycle.response_complete:
                cycle.keep_alive = False  # for the requests in progress
        await self._stop_accepting()
        deadline = asyncio.get_running_loop().time() + DRAIN_SECONDS
        while state.connections and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.02)
        await super().shutdown(sockets)

    async def _stop_accepting(self) -> None:
        """Close the listeners. Connections already accepted by the kernel are still served."""
        loop = asyncio.get_running_loop()
        for server in self.servers:
            for listener in server.sockets:
                with socket.socket(fileno=socket.dup(listener.fileno())) as duplicate:
                    duplicate.setblocking(False)
                    await self._accept_waiting(loop, duplicate)
            server.close()

    async def _accept_waiting(
        self, loop: asyncio.AbstractEventLoop, listener: socket.socket
    ) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except BlockingIOError:
                return
            await loop.connect_accepted_socket(self._protocol, connection)

    def _protocol(self) -> asyncio.Protocol:
        protocol_class = self.config.http_protocol_class
        return protocol_class(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )  # type: ignore[call-arg]
