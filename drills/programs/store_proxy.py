"""Pass connections on to a Redis. Its address stands in store_proxy.conf, and may change.

python store_proxy.py PORT
"""

import contextlib
import pathlib
import socket
import sys
import threading
import time
from urllib.parse import urlsplit

CONFIGURATION = pathlib.Path(__file__).with_suffix(".conf")
SECONDS = 5

joined: set[socket.socket] = set()


def main() -> None:
    """Serve until the end."""
    threading.Thread(target=reload, daemon=True).start()
    with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as door:
        while True:
            caller, _ = door.accept()
            threading.Thread(target=join, args=(caller,), daemon=True).start()


def reload() -> None:
    """End all connections when the configuration changes. Callers connect anew."""
    known = CONFIGURATION.read_text()
    while True:
        time.sleep(1)
        if (found := CONFIGURATION.read_text()) != known:
            known = found
            for end in list(joined):
                hang_up(end)


def join(caller: socket.socket) -> None:
    """Pass one connection on, both ways."""
    upstream = urlsplit(CONFIGURATION.read_text().strip().partition("=")[2])
    try:
        server = socket.create_connection((upstream.hostname, upstream.port), SECONDS)
    except OSError:
        caller.close()
        return
    server.settimeout(None)
    joined.update((caller, server))
    threading.Thread(target=copy, args=(server, caller), daemon=True).start()
    copy(caller, server)


def copy(source: socket.socket, target: socket.socket) -> None:
    """Copy bytes until one side ends."""
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    for end in (source, target):
        hang_up(end)


def hang_up(end: socket.socket) -> None:
    """Close a connection. Its other side wakes up."""
    joined.discard(end)
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


if __name__ == "__main__":
    main()
