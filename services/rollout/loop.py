"""The rollout controller as a service. A failure at one model does not stop the others."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from dojo.core.service import Service
from dojo.core.state.atomic import ConflictError
from dojo.core.state.clock import ClockNotSetError, WorldClock
from services.rollout.bandits.controller import BanditController
from services.rollout.controller import Controller
from services.rollout.metrics import RolloutMetrics
from services.rollout.pace import look_interval

# Steps of one model without a pause, before the others get their turn. A transition takes two or
# three, a backlog one per 10,000 events.
STEPS_AT_ONCE = 10


class RolloutService(Service):
    """Looks at every model's rollout and bandit, once per round."""

    backoff = (1.0,)  # one model's failure must not slow the others down

    def __init__(
        self,
        controller: Controller,
        models: Sequence[str],
        metrics: RolloutMetrics,
        clock: WorldClock,
        bandits: BanditController,
    ) -> None:
        super().__init__()
        self._bandits = bandits
        self._controller, self._models, self._metrics, self._clock = (
            controller,
            models,
            metrics,
            clock,
        )

    def round(self, stop: threading.Event) -> float:
        for model in self._models:
            with self.part(model):
                self._steps(model, stop)
            if self._controller.misses_registry(model):
                self.waits_for(
                    model,
                    "MLflow does not answer; it is asked again, and traffic is judged meanwhile",
                )
        self.say("running")
        try:
            return look_interval(self._clock.speed())
        except ClockNotSetError:
            return look_interval(None)

    def failed(self, cause: str, part: str) -> None:
        self._metrics.errors.labels(part, cause).inc()

    def _steps(self, model: str, stop: threading.Event) -> None:
        try:
            for _ in range(STEPS_AT_ONCE):
                if stop.is_set() or not self._controller.step(model):
                    break
            self._bandits.step(model)
        except ConflictError:
            return  # another process wrote: the next round decides again on its result
