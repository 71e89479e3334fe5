"""Which ports the stack needs, and which processes hold them."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from dojo.stack.table import ProcessSpec


@dataclass(frozen=True, slots=True)
class TakenPort:
    """A port that the stack needs and another process listens on.

    `holder` is empty when it cannot be known.
    """

    name: str
    port: int
    variable: str
    holder: str

    def __str__(self) -> str:
        by = (
            f"by {self.holder}"
            if self.holder
            else "by another process (of another user: its name is not visible)"
        )
        return f"port {self.port} ({self.name}) is taken {by}; {self.variable} moves it"


def taken_ports(specs: Sequence[ProcessSpec], host: str) -> list[TakenPort]:
    """The ports of `specs` that cannot be bound on `host`."""
    return [
        TakenPort(s.name, port, variable, holder_of(port))
        for s in specs
        for variable, port in s.ports.items()
        if not is_free(host, port)
    ]


def doubled_ports(specs: Sequence[ProcessSpec]) -> list[str]:
    """Processes that are set to the same port, as messages."""
    messages, seen = [], dict[int, str]()
    for variable, port in (one for spec in specs for one in spec.ports.items()):
        if (other := seen.setdefault(port, variable)) != variable:
            messages.append(f"{other} and {variable} are both {port}: give each its own")
    return messages


def is_of_this_machine(host: str) -> bool:
    """Whether servers of this machine can listen there. If not, every port would seem taken."""
    return is_free(host, 0)  # 0: any port


def is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        # As servers do. Without it, lingering connections of a stopped stack (TIME_WAIT) would make
        # a port look taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port(host: str = "127.0.0.1") -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def holder_of(port: int) -> str:
    """`pid 4711 (python -m http.server)`, or "" when the machine does not tell."""
    try:
        connections = psutil.net_connections("inet")
    except psutil.AccessDenied:  # macOS tells only root
        return ""
    for connection in connections:
        if (
            connection.status == psutil.CONN_LISTEN
            and connection.laddr
            and connection.laddr.port == port
            and connection.pid
        ):
            try:
                command = " ".join(psutil.Process(connection.pid).cmdline())
            except psutil.Error:
                command = "?"
            return f"pid {connection.pid} ({command[:120]})"
    return ""
