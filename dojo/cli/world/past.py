"""Waits until the simulator has written the world's past, for commands that need it.

`dojo up` returns when the processes answer. Writing history takes some seconds more, and so does
the past of models that joined.
"""

from __future__ import annotations

import time

from dojo.cli.output import note
from dojo.core.settings import Settings
from dojo.stack.answers import get_json

# Between looks, wall seconds.
LOOK_SECONDS = 0.5

# The beginning of the simulator's state meanwhile (services/simulator/live.py).
BUILDING = "building history"


def wait_for_past(settings: Settings) -> None:
    """Wait while the simulator writes the past, and say so once.

    A simulator that does not answer is not waited for.
    """
    told = False
    while _state(settings).startswith(BUILDING):
        if not told:
            note("the simulator is still writing the world's past; waiting for it")
            told = True
        time.sleep(LOOK_SECONDS)


def _state(settings: Settings) -> str:
    return str(get_json(f"{settings.url_of('simulator')}/healthz")[1].get("state", ""))
