"""Installs a client into `.tools/clients/NAME`, once per machine and version of its pins."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.installed import lacking

PINS = Path(__file__).parent / "pins"
TOOLS = Path(__file__).parents[3] / ".tools"
# A test may take 300 s. The largest client, with 300 MB, takes 5 s from a cache.
INSTALL_SECONDS = 200
RUN_SECONDS = 120


@dataclass(frozen=True, slots=True)
class ClientEnvironment:
    """A client's own Python."""

    directory: Path

    def run(
        self, program: str, *arguments: object, cwd: Path | None = None, **variables: object
    ) -> subprocess.CompletedProcess[str]:
        """Run one of the environment's programs to its end. Its exit code may be any."""
        # The project's packages stay out of sight.
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return subprocess.run(
            [str(self.directory / "bin" / program), *map(str, arguments)],
            env={**kept, **{name: str(value) for name, value in variables.items()}},
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )

    def call(self, script: str, *arguments: object, **variables: object) -> Any:
        """Run a script of this directory. Returns its last line, which is JSON."""
        path = Path(__file__).with_name(script)
        done = self.run("python", path, *arguments, **variables)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])


def client_environment(name: str) -> ClientEnvironment:
    """Return the environment of a client, and install it before its first use.

    Without a package index, the test is skipped on a developer's machine and fails in CI.
    """
    pins, directory = PINS / f"{name}.txt", TOOLS / "clients" / name
    version = f"{sys.version}\n{hashlib.sha256(pins.read_bytes()).hexdigest()}"
    mark = directory / "installed"
    directory.parent.mkdir(parents=True, exist_ok=True)
    with directory.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other workers of pytest-xdist wait here
        if not (mark.is_file() and mark.read_text() == version):
            shutil.rmtree(directory, ignore_errors=True)
            _install(pins, directory)
            mark.write_text(version)
    return ClientEnvironment(directory)


def _install(pins: Path, directory: Path) -> None:
    uv = shutil.which("uv", path=f"{TOOLS / 'uv' / 'bin'}{os.pathsep}{os.environ['PATH']}")
    if uv is None:
        lacking("uv not installed: make setup")
    python = directory / "bin" / "python"
    commands: list[list[str | Path]] = [
        ["venv", "--python", sys.executable, directory],
        ["pip", "install", "--python", python, "--requirement", pins],
    ]
    for arguments in commands:
        try:
            subprocess.run(
                [uv, "--quiet", *arguments],
                capture_output=True,
                text=True,
                timeout=INSTALL_SECONDS,
                check=True,
            )
        except subprocess.TimeoutExpired:
            lacking(f"{pins} not installed within {INSTALL_SECONDS} s")
        except subprocess.CalledProcessError as error:
            lacking(f"{pins} not installed: {error.stderr.strip()[-500:]}")
