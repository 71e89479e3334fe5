"""uvicorn that ends without dropping a request.

uvicorn alone closes idle keep-alive connections on SIGTERM; a request that is on its way at that moment is lost. Here every
answer first says `Connection: close`, so that clients leave by themselves, and connections that stay idle are closed last.
"""

from __future__ import annotations

import asyncio
import socket

import structlog
import uvicorn

# How long clients have to send one more request on each open connection. Callers at one request a second have left by then.
DRAIN_SECONDS = 1.0
# In all; the supervisor kills after 10 s, and the prediction log needs up to 2 s after this.
SHUTDOWN_SECONDS = 6

_log = structlog.get_logger("gateway.server")


class DrainingServer(uvicorn.Server):
    """uvicorn.Server with a drain before its own shutdown."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        state = self.server_state
        _log.info("stopping: draining connections", connections=len(state.connections))
        state.default_headers = [*state.default_headers, (b"connection", b"close")]  # of every request from now on
        for connection in state.connections:
            cycle = getattr(connection, "cycle", None)
            if cycle is not None and not cycle.response_complete:
                cycle.keep_alive = False  # of the requests being answered
        await self._stop_accepting()
        deadline = asyncio.get_running_loop().time() + DRAIN_SECONDS
        while state.connections and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.02)
        await super().shutdown(sockets)

    async def _stop_accepting(self) -> None:
        """Close the listeners; what the kernel has already accepted for us is served, not reset."""
        loop = asyncio.get_running_loop()
        for server in self.servers:
            for listener in server.sockets:
                with socket.socket(fileno=socket.dup(listener.fileno())) as duplicate:
                    duplicate.setblocking(False)
                    await self._accept_waiting(loop, duplicate)
            server.close()

    async def _accept_waiting(self, loop: asyncio.AbstractEventLoop, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except BlockingIOError:
                return
            await loop.connect_accepted_socket(self._protocol, connection)

    def _protocol(self) -> asyncio.Protocol:
        protocol_class = self.config.http_protocol_class
        return protocol_class(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)  # type: ignore[call-arg]
