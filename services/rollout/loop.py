"""Rolling out for ever: through an absent Redis or MLflow, saying how it goes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence

import structlog
from redis.exceptions import RedisError

from dojo.core.registry.errors import RegistryUnavailableError
from dojo.core.state.atomic import ConflictError
from dojo.core.state.clock import ClockNotSetError
from services.rollout.controller import Controller
from services.rollout.metrics import RolloutMetrics

# Steps of one model without a pause, before the others get their turn: a transition takes two or three, a backlog one per 10,000 events.
STEPS_AT_ONCE = 10

# A round waits for MLflow 5 s per question at most, and asks a dozen. Seconds.
STUCK_AFTER = 120.0

_log = structlog.get_logger("rollout")


class RolloutStatus:
    """How it goes, for /healthz; written by the loop, read by the health server's thread."""

    def __init__(self) -> None:
        self._faults: dict[str, str] = {}
        self._unforeseen: set[str] = set()
        self._state = "starting"
        self._busy_since: float | None = None

    def begin(self) -> None:
        self._busy_since = time.monotonic()

    def end(self) -> None:
        self._busy_since, self._state = None, "running"

    def fault(self, model: str, reason: str, unforeseen: bool = False) -> None:
        self._faults[model] = reason
        (self._unforeseen.add if unforeseen else self._unforeseen.discard)(model)

    def fine(self, model: str) -> None:
        self._faults.pop(model, None)
        self._unforeseen.discard(model)

    def health(self) -> tuple[bool, Mapping[str, object]]:
        """An absent Redis or MLflow is nothing that a restart would cure: healthy, and it says what it waits for."""
        busy_since = self._busy_since
        if busy_since is not None and (busy := time.monotonic() - busy_since) > STUCK_AFTER:
            return False, {"state": "stuck", "reason": f"one round has taken {busy:.0f} s so far"}
        faults = dict(self._faults)
        return not self._unforeseen, {"state": "retrying" if faults else self._state, "faults": faults}


def run(
    controller: Controller,
    models: Sequence[str],
    status: RolloutStatus,
    metrics: RolloutMetrics,
    stop: threading.Event,
    interval: Callable[[], float],
) -> None:
    """Look at every model's rollout until `stop` is set.

    Args:
        interval: wall seconds to wait until the next round.
    """
    while not stop.is_set():
        status.begin()
        for model in models:
            _steps(controller, model, status, metrics, stop)
        status.end()
        stop.wait(interval())


def _steps(controller: Controller, model: str, status: RolloutStatus, metrics: RolloutMetrics, stop: threading.Event) -> None:
    try:
        for _ in range(STEPS_AT_ONCE):
            if stop.is_set() or not controller.step(model):
                break
        if controller.misses_registry(model):
            status.fault(model, "MLflow does not answer; it is asked again, and traffic is judged meanwhile")
        else:
            status.fine(model)
        return
    except ConflictError:
        return  # somebody else wrote: the next round decides again on what they left
    except ClockNotSetError as error:
        status.fault(model, str(error))
        return
    except RedisError as error:
        cause, reason = "redis", f"Redis: {error}"
    except RegistryUnavailableError as error:
        cause, reason = "registry", str(error)
    except Exception as error:  # the outermost loop: one model's unforeseen fault must not stop the others
        cause, reason = "unforeseen", f"unforeseen: {error!r}"
        _log.exception("unforeseen fault", model=model)
    metrics.errors.labels(model, cause).inc()
    status.fault(model, reason, unforeseen=cause == "unforeseen")
    _log.warning("round failed, it will be repeated", model=model, cause=cause, reason=reason)
