"""The stack of docker-compose.yml for tests: a project with its own secrets, ports and volumes."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.servers import free_port

ROOT = Path(__file__).parents[2]
MODEL = "fraud_detection"

# Images that are needed but missing when no registry is in reach.
LEFT_OUT = ("grafana",) if os.environ.get("WITHOUT_GRAFANA") else ()

ONE_SHOTS = ("airflow-migrate", "mlflow-migrate", "monitoring-files")


class Composed:
    """One Docker Compose project. Docker's output goes to `log`."""

    def __init__(
        self, directory: Path, name: str = "dojo-test", version: str = "test", **environment: str
    ) -> None:
        self.name, self.log = name, directory / "compose.log"
        self.env_file = directory / "env"
        self.gateway_port, self.mlflow_port, self.grafana_port = (
            free_port(),
            free_port(),
            free_port(),
        )
        subprocess.run([ROOT / "scripts" / "env.sh", self.env_file], check=True)
        self.environment = {
            **os.environ,
            "DOJO_VERSION": version,
            "GATEWAY_PORT": str(self.gateway_port),
            "GATEWAY_GRPC_PORT": str(free_port()),
            "MLFLOW_PORT": str(self.mlflow_port),
            "AIRFLOW_PORT": str(free_port()),
            "GRAFANA_PORT": str(self.grafana_port),
            **environment,
        }

    def compose(self, *arguments: str, within: float = 120, check: bool = True) -> str:
        """Run `docker compose` in this project. Return its stdout."""
        command = [
            "docker",
            "compose",
            "--project-name",
            self.name,
            "--env-file",
            str(self.env_file),
            *arguments,
        ]
        with self.log.open("ab") as log:
            log.write(f"$ {' '.join(arguments)}\n".encode())
            log.flush()
            done = subprocess.run(
                command,
                cwd=ROOT,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                timeout=within,
                check=False,
            )
        assert not check or done.returncode == 0, (
            f"{' '.join(arguments)}: exit {done.returncode}; {self.tail()}"
        )
        return done.stdout

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-2000:]

    def up(self, within: float = 300) -> float:
        """Start all available services. Return the wall seconds until all were healthy."""
        services = [
            name for name in self.compose("config", "--services").split() if name not in LEFT_OUT
        ]
        began = time.monotonic()
        self.compose("up", "--detach", "--no-build", "--wait", *services, within=within)
        return time.monotonic() - began

    def down(self, *arguments: str) -> None:
        self.compose("down", "--remove-orphans", *arguments, within=180)

    def dojo(self, *arguments: str, within: float = 120, check: bool = True) -> str:
        """Run a `dojo` command in its own container, with memory for training."""
        return self.compose(
            "run", "--rm", "--no-deps", "--no-TTY", "tools", *arguments, within=within, check=check
        )

    def from_outside(self, words: list[str]) -> tuple[int, str]:
        """Run `dojo --context compose` as a person on this machine does.

        Returns the exit code and the error output.
        """
        project = {"COMPOSE_PROJECT_NAME": self.name, "COMPOSE_ENV_FILES": str(self.env_file)}
        command = [sys.executable, "-m", "dojo", "--context", "compose", *words]
        done = subprocess.run(
            command, cwd=ROOT, env={**self.environment, **project}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        return done.returncode, done.stderr

    def json(self, *arguments: str, within: float = 120) -> Any:
        return json.loads(self.dojo(*arguments, "--json", within=within))

    def ask(self, *arguments: str) -> Any:
        """Run a `dojo` command in a running container. It saves a second in frequent calls."""
        return json.loads(self.inside("dojo", *arguments, "--json"))

    def python(self, code: str) -> str:
        """Run Python code inside the network, with the stack's settings."""
        return self.inside("python", "-c", code)

    def inside(self, *command: str, check: bool = True) -> str:
        return self.compose("exec", "--no-TTY", "trainer", *command, check=check)

    def containers(self) -> dict[str, dict[str, Any]]:
        """Return service -> its entry of `docker compose ps`."""
        rows = [
            json.loads(line)
            for line in self.compose("ps", "--all", "--format", "json").splitlines()
            if line.strip()
        ]
        return {row["Service"]: row for row in rows}

    def healthy(self, service: str) -> bool:
        return bool(self.containers().get(service, {}).get("Health") == "healthy")

    def kill(self, service: str) -> None:
        """Kill the container's process from within (kill -9).

        Docker then restarts it. After `docker kill` it would not.
        """
        self.compose("exec", "--no-TTY", service, "sh", "-c", "kill -9 -1", check=False)

    def predict(self, instance: dict[str, Any], timeout: float = 5) -> dict[str, Any]:
        """Return one prediction through the published port. Raises OSError."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.gateway_port}/v1/models/{MODEL}:predict",
            data=json.dumps({"instances": [instance]}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            found: dict[str, Any] = json.load(answer)["predictions"][0]
            return found

    def grafana(self, path: str) -> Any:
        """Return an answer of Grafana's API as its administrator. Raises OSError."""
        lines = self.env_file.read_text().splitlines()
        password = next(
            line.partition("=")[2] for line in lines if line.startswith("GRAFANA_PASSWORD=")
        )
        request = urllib.request.Request(f"http://127.0.0.1:{self.grafana_port}{path}")
        request.add_header(
            "Authorization", "Basic " + base64.b64encode(f"admin:{password}".encode()).decode()
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)


@dataclass
class Answers:
    """A customer's answers during a fault. `seconds`: the longest time without an answer."""

    answered: list[str] = field(default_factory=list)
    failed: int = 0
    degraded: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def seen(self) -> str:
        parts = [f"{len(self.answered)} answers"]
        parts += [f"{count} {reason}" for reason, count in sorted(self.degraded.items())]
        parts += (
            [f"{self.failed} refused, {self.seconds:.1f} s without an answer"]
            if self.failed
            else []
        )
        return ", ".join(parts)


class Customer(threading.Thread):
    """A customer who pays ten times per second until told to stop. Each payment has its own id."""

    def __init__(self, stack: Composed, prefix: str, instances: Sequence[dict[str, Any]]) -> None:
        super().__init__(name="customer", daemon=True)
        self._stack, self._prefix, self._instances = stack, prefix, instances
        self._finish = threading.Event()
        self.answers = Answers()

    def run(self) -> None:
        number, last = 0, time.monotonic()
        while not self._finish.wait(0.1):
            number += 1
            request_id = f"{self._prefix}-{number}"
            try:
                answer = self._stack.predict(
                    {**self._instances[number % len(self._instances)], "request_id": request_id}
                )
            except (OSError, KeyError, ValueError, urllib.error.URLError):
                self.answers.failed += 1
                continue
            self.answers.seconds = max(self.answers.seconds, time.monotonic() - last)
            last = time.monotonic()
            self.answers.answered.append(request_id)
            for reason in answer["degraded"] or ():
                self.answers.degraded[reason] = self.answers.degraded.get(reason, 0) + 1

    def finish(self) -> Answers:
        self._finish.set()
        self.join(10)
        return self.answers
