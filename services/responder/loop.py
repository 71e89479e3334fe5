"""Responding for ever: through an absent Redis or MLflow, saying how it goes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import structlog
from redis.exceptions import RedisError

from dojo.core.registry.errors import RegistryUnavailableError
from dojo.core.state.atomic import ConflictError
from dojo.core.state.clock import ClockNotSetError
from services.responder.metrics import ResponderMetrics
from services.responder.responder import Responder

POLL_SECONDS = 0.5  # wall time; at demo speed 20 world minutes, against hourly verdicts
BACKOFF_SECONDS = (0.5, 1.0, 2.0, 5.0, 15.0)  # after a failure; the last one repeats
STEPS_AT_ONCE = 5  # of one model, before the others get their turn: intent, deed and record are three
STUCK_AFTER = 120.0  # a round waits for MLflow 5 s per question, and a rollback asks a dozen. Seconds

_log = structlog.get_logger("responder")


class ResponderStatus:
    """How it goes, for /healthz; written by the loop, read by the health server's thread."""

    def __init__(self) -> None:
        self._state, self._faults = "starting", dict[str, str]()
        self._unforeseen = False
        self._busy_since: float | None = None

    def begin(self) -> None:
        self._busy_since = time.monotonic()

    def end(self, faults: Mapping[str, str], unforeseen: bool) -> None:
        self._faults, self._unforeseen, self._busy_since = dict(faults), unforeseen, None
        self._state = "retrying" if faults else "responding"

    def health(self) -> tuple[bool, Mapping[str, object]]:
        """An absent Redis or MLflow is nothing that a restart would cure: healthy, and it says what it waits for."""
        busy_since = self._busy_since
        if busy_since is not None and (busy := time.monotonic() - busy_since) > STUCK_AFTER:
            return False, {"state": "stuck", "reason": f"one round has taken {busy:.0f} s so far"}
        return not self._unforeseen, {"state": self._state, "faults": dict(self._faults)}


class Loop:
    """One per process."""

    def __init__(self, responder: Responder, models: Sequence[str], status: ResponderStatus, metrics: ResponderMetrics) -> None:
        self._responder, self._models, self._status, self._metrics = responder, models, status, metrics
        self._recovered = False
        self._failures = 0
        self._faults: dict[str, str] = {}
        self._unforeseen = False

    def run(self, stop: threading.Event) -> None:
        """Respond until `stop` is set."""
        while not stop.is_set():
            stop.wait(self.round(stop))

    def round(self, stop: threading.Event) -> float:
        """Take verdicts in, then act. Returns wall seconds to wait until the next round."""
        self._status.begin()
        self._faults, self._unforeseen = {}, False
        # Nothing is decided on half of what was said.
        if self._guarded("verdicts", self._take_in):
            for model in self._models:
                self._guarded(model, partial(self._steps, model, stop))
        self._status.end(self._faults, self._unforeseen)
        self._failures = self._failures + 1 if self._faults else 0
        return BACKOFF_SECONDS[min(self._failures, len(BACKOFF_SECONDS)) - 1] if self._failures else POLL_SECONDS

    def _take_in(self) -> None:
        if not self._recovered:
            self._responder.recover()
            self._recovered = True
        self._responder.drain()

    def _steps(self, model: str, stop: threading.Event) -> None:
        for _ in range(STEPS_AT_ONCE):
            if stop.is_set() or not self._responder.step(model):
                return

    def _guarded(self, what: str, work: Callable[[], None]) -> bool:
        """Whether it went well. Whatever failed, some messages may be read and not acknowledged: the next round starts with those."""
        try:
            work()
            return True
        except ConflictError:
            self._recovered = False
            return False  # somebody else wrote: the next round decides again on what they left
        except ClockNotSetError as error:
            self._faults[what] = str(error)
            self._recovered = False
            return False
        except RedisError as error:
            cause, reason = "redis", f"Redis: {error}"
        except RegistryUnavailableError as error:
            cause, reason = "registry", str(error)
        except Exception as error:  # the outermost loop: one model's unforeseen fault must not stop the others
            cause, reason = "unforeseen", f"unforeseen: {error!r}"
            self._unforeseen = True
            _log.exception("unforeseen fault", what=what)
        self._recovered = False
        self._faults[what] = reason
        self._metrics.failures.labels(cause).inc()
        _log.warning("round failed, it will be repeated", what=what, cause=cause, reason=reason)
        return False
