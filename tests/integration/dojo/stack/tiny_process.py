"""A process to supervise: `python tiny_process.py NAME PORT DIRECTORY [OPTION...]`.

It answers /healthz, and uses only the standard library. It is healthy while
`<DIRECTORY>/<NAME>.sick` does not exist. Each start appends its Unix time and pid to
`<DIRECTORY>/<NAME>.starts`. The option `crash` ends at once. `stubborn` ignores SIGTERM. `parent`
starts a child that would outlive it. `large` takes 200 MB.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path


def main() -> None:
    name, port, directory, options = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:]
    with (directory / f"{name}.starts").open("a") as starts:
        starts.write(f"{time.time()} {os.getpid()}\n")
    if "crash" in options:
        sys.exit(f"{name} crashes, as asked")
    # A child inherits ignored signals. SIGTERM's default is an immediate end.
    signal.signal(signal.SIGTERM, signal.SIG_IGN if "stubborn" in options else signal.SIG_DFL)
    if "parent" in options:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        (directory / f"{name}.child").write_text(str(child.pid))

    taken = b"x" * 200_000_000 if "large" in options else b""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            sick = (directory / f"{name}.sick").exists()
            told = {
                "status": "failing" if sick else "ok",
                "pid": os.getpid(),
                "directory": str(Path.cwd()),
                "variable": os.environ.get("TINY_VARIABLE", ""),
                "taken": len(taken),
            }
            body = json.dumps(told).encode()
            self.send_response(503 if sick else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None: ...

    HTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main()
