"""Pass connections on to a Redis. The address stands in store_proxy.conf, read for each connection.

python store_proxy.py PORT
"""

import pathlib
import socket
import sys
import threading
from urllib.parse import urlsplit

CONFIGURATION = pathlib.Path(__file__).with_suffix(".conf")
SECONDS = 5


def main() -> None:
    """Serve until the end."""
    with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as door:
        while True:
            caller, _ = door.accept()
            threading.Thread(target=join, args=(caller,), daemon=True).start()


def join(caller: socket.socket) -> None:
    """Pass one connection on, both ways."""
    upstream = urlsplit(CONFIGURATION.read_text().strip().partition("=")[2])
    try:
        server = socket.create_connection((upstream.hostname, upstream.port), SECONDS)
    except OSError:
        caller.close()
        return
    server.settimeout(None)
    threading.Thread(target=copy, args=(server, caller), daemon=True).start()
    copy(caller, server)


def copy(source: socket.socket, target: socket.socket) -> None:
    """Copy bytes until one side ends."""
    try:
        while data := source.recv(65_536):
            target.sendall(data)
    except OSError:
        pass
    for end in (source, target):
        end.close()


if __name__ == "__main__":
    main()
