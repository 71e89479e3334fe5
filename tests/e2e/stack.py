"""The whole stack, used as people use it: through the `dojo` command and HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from click.testing import Result
from typer.testing import CliRunner

from dojo.cli.app import build
from dojo.core.lake import Lake
from dojo.core.settings import VARIABLES
from tests.support.servers import free_port

MODEL = "fraud_detection"
# A payment of an unknown customer. The gateway answers it as a cold start.
PAYMENT = {"customer_id": "nobody", "merchant_id": "nowhere", "amount": 42.5}


def small_spec(directory: Path) -> Path:
    """Write the model's spec with lower demands, for a world of 300 customers.

    The rest is the same.
    """
    spec = yaml.safe_load(Path("models", f"{MODEL}.yaml").read_text())
    spec["training"]["minimum_rows"] = 5_000  # 600 payments a day, 90 days
    spec["training"]["estimator"]["parameters"]["n_estimators"] = 60
    # The world has nine positives per day. The check needs 30 with labels.
    spec["drift"]["performance"] |= {"window": "14d", "minimum_positives": 10}
    directory.mkdir()
    (directory / f"{MODEL}.yaml").write_text(yaml.safe_dump(spec))
    return directory


class Stack:
    """A stack with its own home, ports, specs, and a synthetic world of 300 customers.

    Args:
        directory: Where home and specs are written.
        settings: More `DOJO_*` variables.
    """

    def __init__(self, directory: Path, **settings: str) -> None:
        self.home = directory / "home"
        self.models = small_spec(directory / "models")
        self.ports = {
            name: str(free_port()) for name in sorted(VARIABLES) if name.endswith("_PORT")
        }
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("DOJO_")},
            **self.ports,
            "DOJO_HOME": str(self.home),
            "DOJO_MODELS_DIR": str(self.models),
            "DOJO_SYNTHETIC_CUSTOMERS": "300",
            "DOJO_SYNTHETIC_MERCHANTS": "200",
            "DOJO_WITHOUT": "airflow",  # 1 GB and 20 s of a core; test_worlds.py has one
            **settings,
        }
        self.gateway = f"http://127.0.0.1:{self.ports['DOJO_GATEWAY_PORT']}"

    def dojo(
        self, *arguments: str, check: bool = True, within: float = 120, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a `dojo` command. With `check`, its failure fails the test and shows its output."""
        done = subprocess.run(
            [sys.executable, "-m", "dojo", *arguments],
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
        )
        said = (
            f"dojo {' '.join(arguments)} ended with"
            f" {done.returncode}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        )
        assert not check or done.returncode == 0, said
        return done

    def json(self, *arguments: str, check: bool = True, within: float = 120) -> Any:
        """Return what a `dojo` command prints with `--json`."""
        return json.loads(self.dojo(*arguments, "--json", check=check, within=within).stdout)

    def json_each(self, *commands: Sequence[str], within: float = 120) -> list[Any]:
        """Return what each `dojo` command prints with `--json`.

        One process runs them in turn, because the imports of a training take 5 s of processor time.
        The first failure ends it, fails the test and shows its output.
        """
        done = subprocess.run(
            [sys.executable, "-m", "tests.e2e.commands", json.dumps(commands)],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        answers: list[Any] = [json.loads(line) for line in done.stdout.splitlines()]
        return answers

    def run_here(self, arguments: Sequence[str]) -> Result:
        """Run a `dojo` command that only looks, in this process. Raises what the command raises.

        Polling with a process for each look takes more processor time than the watched stack.
        """
        none: dict[str, str | None] = {
            name: None for name in os.environ if name.startswith("DOJO_")
        }
        done = CliRunner().invoke(build(), arguments, env={**none, **self.environment})
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done

    def look(self, *arguments: str) -> Any:
        """Return what a `dojo` command that only looks prints with `--json`, for any exit code."""
        seen = self.run_here([*arguments, "--json"])
        assert seen.stdout, f"dojo {' '.join(arguments)}: {seen.stderr}"
        return json.loads(seen.stdout)

    def status(self) -> dict[str, Any]:
        """Return `dojo status --json`, for any exit code, with the processes by name."""
        status: dict[str, Any] = self.look("status")
        status["processes"] = {process["name"]: process for process in status["processes"]}
        return status

    def predict(self, payment: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{self.gateway}/v1/models/{MODEL}:predict",
            data=json.dumps({"instances": [payment]}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            prediction: dict[str, Any] = json.load(answer)["predictions"][0]
        return prediction

    @property
    def lake(self) -> Lake:
        return Lake(self.home / "lake")
