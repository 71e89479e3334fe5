"""A uvicorn server that stops without dropping a request.

On SIGTERM, plain uvicorn closes idle keep-alive connections, and a request on its way is lost. This
server first sends `Connection: close` with every answer, so that clients leave by themselves. It
closes connections that stay idle last.
"""

from __future__ import annotations

import asyncio
import socket

import structlog
import uvicorn

# Time for clients to send one more request on each open connection. Callers at one request a
# second have left by then.
DRAIN_SECONDS = 1.0
# Limit for HTTP. The supervisor kills after 10 s. Then gRPC and the prediction log need up to
# 2 s each.
SHUTDOWN_SECONDS = 5

_log = structlog.get_logger("gateway.server")


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
