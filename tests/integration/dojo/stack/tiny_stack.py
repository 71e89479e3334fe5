"""A supervisor over tiny processes.

Run it with `python -m tests.integration.dojo.stack.tiny_stack HOME '<JSON list of TinySpec>'`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from dojo.core.telemetry import configure_logging
from dojo.stack.health import HttpHealth
from dojo.stack.supervisor.__main__ import supervise
from dojo.stack.supervisor.lifecycle import Patience
from dojo.stack.table import ProcessSpec

TINY_PROCESS = Path(__file__).parent / "tiny_process.py"


class TinySpec(msgspec.Struct, frozen=True):
    """One tiny process. `unhealthy_patience` and `grace` are in seconds."""

    name: str
    port: int
    options: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    unhealthy_patience: float = 60
    grace: float = 1


def process_spec(tiny: TinySpec, home: Path) -> ProcessSpec:
    return ProcessSpec(
        name=tiny.name,
        command=(
            sys.executable,
            "-S",
            str(TINY_PROCESS),
            tiny.name,
            str(tiny.port),
            str(home),
            *tiny.options,
        ),
        health=HttpHealth("127.0.0.1", tiny.port),
        address=f"http://127.0.0.1:{tiny.port}",
        port=tiny.port,
        depends_on=tiny.depends_on,
        patience=Patience(starting=30, unhealthy=tiny.unhealthy_patience),
        grace=tiny.grace,
    )


if __name__ == "__main__":
    configure_logging("supervisor")
    directory = Path(sys.argv[1])
    table = msgspec.json.decode(sys.argv[2], type=list[TinySpec])
    sys.exit(supervise([process_spec(tiny, directory) for tiny in table], directory))
