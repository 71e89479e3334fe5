"""What the start and the end of a drill share: steps, measurements in time, and messages."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from pydantic import TypeAdapter
from redis.exceptions import RedisError

from dojo.actions.desk import Desk
from dojo.core.state.inbox import Message
from dojo.drills.faults.fault import Injection
from dojo.drills.faults.table import Fault
from dojo.drills.record import DrillRun, Step
from dojo.drills.running.probes import callers
from dojo.drills.running.store_probes import keys
from dojo.drills.spec import Condition

Tell = Callable[[str], None]

# Between two measurements, wall seconds.
LOOK_SECONDS = 0.5


def fault_of(step: Step) -> Injection:
    """Return what a step injected, with its parameters."""
    fault: Injection = TypeAdapter(Fault).validate_python(step.fault)
    return fault


def count_losses(desk: Desk, run: DrillRun, moment: str) -> None:
    """Write down what callers got and what the online store has, as far as it can be counted."""
    if (counted := callers(desk)) is not None:
        run.unanswered[moment] = counted
    with suppress(RedisError):
        run.keys[moment] = keys(desk)


def wait(condition: Condition, values: Callable[[], Sequence[float | None]]) -> bool:
    """Wait until a condition has held without a break. False if it has not begun to in time."""
    begun, since = time.monotonic(), None
    while True:
        now = time.monotonic()
        if condition.holds(values()):
            since = now if since is None else since
            if now - since >= condition.lasting.total_seconds():
                return True
        else:
            since = None
            if now - begun > condition.within.total_seconds():
                return False
        time.sleep(LOOK_SECONDS)


def is_about(message: Message, alert: str) -> bool:
    """Return whether a message tells of an alert. Its text names it (services/receiver)."""
    return f"{alert} (" in message.text or message.text.endswith(f"dojo runbook {alert}")
