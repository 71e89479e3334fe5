"""The responder as a service: is Redis' state whole, then verdicts, then some steps per model."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from dojo.core.service import REDIS, REGISTRY, Cause, Service
from dojo.core.state.atomic import ConflictError
from dojo.core.state.watch import StateWatch
from services.responder.metrics import ResponderMetrics
from services.responder.responder import Responder

POLL_SECONDS = 0.5  # wall time, at demo speed 20 world minutes, against hourly verdicts
STEPS_AT_ONCE = 5  # per model and turn, more than the three of intent, deed and record


class ResponderService(Service):
    """Takes verdicts in, then acts, once per round.

    It decides nothing before it knows what Redis may have lost.
    """

    causes = (REDIS, REGISTRY, Cause("disk", OSError))
    backoff = (0.5, 1.0, 2.0, 5.0, 15.0)  # each try of a rollback asks MLflow a dozen times

    def __init__(
        self,
        watch: StateWatch,
        responder: Responder,
        models: Sequence[str],
        metrics: ResponderMetrics,
    ) -> None:
        super().__init__()
        self._watch, self._responder, self._models, self._metrics = (
            watch,
            responder,
            models,
            metrics,
        )
        self._recovered = False

    def round(self, stop: threading.Event) -> float:
        looked = taken_in = False
        with self.part("state"), self._first_come():
            self._metrics.state_lost.set(self._watch.look() is not None)
            looked = True
        if not looked:
            return POLL_SECONDS
        with self.part("verdicts"), self._first_come():
            if not self._recovered:
                self._responder.recover()
                self._recovered = True
            self._responder.drain()
            taken_in = True
        # Decide only when all verdicts are taken in.
        for model in self._models if taken_in else ():
            with self.part(model), self._first_come():
                for _ in range(STEPS_AT_ONCE):
                    if stop.is_set() or not self._responder.step(model):
                        break
        self.say("responding")
        return POLL_SECONDS

    def failed(self, cause: str, part: str) -> None:
        self._metrics.failures.labels(cause).inc()

    @contextmanager
    def _first_come(self) -> Iterator[None]:
        """Let another process write first. The next round decides again on the new state.

        After an error, messages may be read and not acknowledged. The next round starts there.
        """
        try:
            yield
        except ConflictError:
            self._recovered = False
        except Exception:
            self._recovered = False
            raise
