"""Where an open drill gives itself away: what a person reads by accident while looking around.

The record in `<home>/drills` is left out. Who opens it knows what it is.
"""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from collections.abc import Iterator

import psutil

from dojo.core.settings import Settings
from dojo.drills.spec import DrillSpec

COMMANDS = (
    "status --json", "audit list --json", "logs -n 2000", "alerts --json",
    "world drift list --json",
    "routes show --json", "models --json", "drift show --json", "features catalog --json",
    "rollout list --json", "orders --json", "dead-letters --json", "doctor --json",
)  # fmt: skip
SERVICES = (
    "gateway", "recorder", "streamer", "materializer", "trainer", "rollout", "monitor",
    "responder", "simulator", "receiver",
)  # fmt: skip
PATHS = ("/metrics", "/healthz")

# Words of injections that no colleague would use.
BETRAYING = ("inject", "sabotage", "drill", "chaos", "side_program", "stray_", "moved_alias")

# A series of a cause that does not act, and the process that measures a drill's outcome.
HARMLESS = (
    "dojo_world_drift_intensity",
    "dojo.drills.running.watch",
    "tests.drills",
    "tests/drills",
    "dojo drill",
    "pytest",
)


def surfaces(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each place that a person reads."""
    for words in COMMANDS:
        command = [sys.executable, "-m", "dojo", *words.split()]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        yield f"dojo {words}", done.stdout + done.stderr
    for name in SERVICES:
        for path in PATHS:
            try:
                with urllib.request.urlopen(settings.url_of(name) + path, timeout=5) as answer:
                    yield name + path, answer.read().decode()
            except OSError:  # a service that the fault stopped
                continue
    yield "processes", "\n".join(_command_lines())
    files = (path.relative_to(settings.home) for path in settings.home.rglob("*"))
    yield "files", "\n".join(str(path) for path in files if path.parts[0] != "drills")


def leaks(settings: Settings, spec: DrillSpec) -> list[str]:
    """Return each place with the line that gives the drill away. Empty if none does."""
    words = (*BETRAYING, spec.id, *(fault.kind for fault in spec.faults))
    own = str(settings.home).lower()
    found = []
    for name, text in surfaces(settings):
        for line in text.splitlines():
            plain = line.lower().replace(own, "")
            if any(word in plain for word in words) and not any(one in plain for one in HARMLESS):
                found.append(f"{name}: {line.strip()[:200]}")
    return found


def _command_lines() -> Iterator[str]:
    for process in psutil.process_iter():
        try:
            yield " ".join(process.cmdline())
        except psutil.Error:
            continue
