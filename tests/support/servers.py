"""Real servers for tests, started on free ports and ended by pid."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from dojo.stack.ports import is_free
from dojo.stack.servers import MLFLOW_ENVIRONMENT, mlflow_command, redis_command
from tests.support.paths import STRANGE_NAME

# Ports that machines do not give to outgoing connections. Linux gives those from 32768 on. A port
# that the machine chooses is free, but may be some connection's own end when its server starts.
FIRST_PORT, PORTS = 10_000, 22_000
# Each worker of pytest-xdist takes ports of its own part, each once.
PARTS = 16


def _ports_of(worker: str) -> Iterator[int]:
    size = PORTS // PARTS
    first = FIRST_PORT + int(worker.removeprefix("gw")) % PARTS * size
    return (first + (os.getpid() + count) % size for count in itertools.count())


_ports = _ports_of(os.environ.get("PYTEST_XDIST_WORKER", "gw0"))


def free_port() -> int:
    return next(port for port in _ports if is_free("127.0.0.1", port))


def wait_until(
    condition: Callable[[], bool], within: float, what: str, every: float = 0.02
) -> None:
    """Poll until `condition` holds. Fails naming `what` after `within` seconds."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:g} s: {what}")
        time.sleep(every)


class Server:
    """One process under test. Its output goes to `<directory>/<name>.log`."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        directory: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        self.log = directory / f"{name}.log"
        self._command, self._cwd = list(command), cwd
        self._env = {**os.environ, **(env or {})}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, stdout=log, stderr=log, env=self._env, cwd=self._cwd
            )

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """Kill -9, and wait until the process is gone."""
        self.signal(signal.SIGKILL)
        assert self.process is not None
        self.process.wait(10)

    def stop(self, within: float = 15) -> int:
        """Send SIGTERM, then SIGKILL after `within` seconds. Returns the exit code."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(within)
            except subprocess.TimeoutExpired:
                self.kill()
        return int(self.process.returncode)

    def tail(self, lines: int = 30) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


class RedisServer(Server):
    def __init__(self, directory: Path, port: int | None = None) -> None:
        self.port = port or free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        super().__init__("redis", redis_command(self.port, directory / "redis"), directory)

    def start(self) -> None:
        super().start()
        wait_until(self.answers, 20, "redis-server answers PING")

    def answers(self) -> bool:
        try:
            return bool(Redis.from_url(self.url, socket_timeout=1).ping())
        except RedisError:
            return False


class MlflowServer(Server):
    def __init__(self, directory: Path, port: int | None = None) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        super().__init__(
            "mlflow",
            mlflow_command(self.port, directory / STRANGE_NAME),
            directory,
            MLFLOW_ENVIRONMENT,
        )

    def start(self) -> None:
        super().start()
        try:
            # 10 s on a quiet machine. Beside builds and other tests it has taken two minutes.
            wait_until(lambda: http_ok(f"{self.url}/health"), 240, "MLflow is healthy", every=0.2)
        except AssertionError as error:
            self.stop()  # a failing fixture is not torn down
            raise AssertionError(f"{error}; its log ends:\n{self.tail()}") from None


def http_ok(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
