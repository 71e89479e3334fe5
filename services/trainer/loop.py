"""The trainer as a service: retrains models on their schedules, and executes work orders."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec
import structlog

from dojo.core.service import Service
from dojo.core.spec.durations import format_duration
from dojo.core.spec.schema import ModelSpec
from dojo.core.state.applied_specs import AppliedSpecs
from dojo.core.state.clock import ClockNotSetError, RedisWorldClock
from pipelines.training.errors import RetrainingRunningError
from pipelines.training.job import Job
from pipelines.training.schedule import ScheduleStore, scheduled_job, state
from services.trainer import airflow as trigger
from services.trainer.airflow_client import AirflowClient, RunExistsError
from services.trainer.batch_nights import BatchNights
from services.trainer.child import run_in_child
from services.trainer.metrics import RUNS
from services.trainer.order_executor import Executor

log = structlog.get_logger()

POLL_SECONDS = 1.0  # wall time; at demo speed 40 world minutes, against a schedule of days
BUSY_SECONDS = 15.0  # until the next try while another retraining runs; a try costs a process start
BACKOFF_SECONDS = (5.0, 15.0, 60.0)  # after a failure; the last one repeats


class Launcher(Protocol):
    """Has a job done and returns how it ended. A job that was already requested is not done twice.

    Raises errors that may pass, and RetrainingRunningError while another retraining of the model
    runs. The job then stays open.
    """

    def __call__(self, job: Job, stop: threading.Event) -> str: ...


@dataclass(frozen=True, slots=True)
class InAirflow:
    """Asks Airflow for a run. Airflow does the rest."""

    client: AirflowClient

    def __call__(self, job: Job, stop: threading.Event) -> str:
        try:
            trigger.ask(self.client, job.model, trigger.parameters(job), run_id=job.key)
        except RunExistsError:
            return "asked before"
        return "asked"


class InChild:
    """Runs the job in a child process and waits for it.

    After its own retries, the child tells the model's owner about a refusal or failure. The
    schedule decides when the next job comes.
    """

    def __call__(self, job: Job, stop: threading.Event) -> str:
        return run_in_child(
            "services.trainer.run_job", msgspec.json.encode(job), job.model, stop
        ).outcome


class Lane:
    """One kind of work with its own backoff. While one lane fails, the other continues."""

    def __init__(self, name: str, work: Callable[[threading.Event], object]) -> None:
        self._name, self._work = name, work
        self._failures, self._not_before = 0, 0.0

    def turn(self, stop: threading.Event) -> None:
        """Work if it is time. Raises only ClockNotSetError."""
        if time.monotonic() < self._not_before:
            return
        try:
            self._work(stop)
            self._failures = 0
            return
        except ClockNotSetError:
            raise
        except RetrainingRunningError as error:
            log.info("it will be its turn later", why=str(error))
            seconds = BUSY_SECONDS
        except Exception as error:  # the outermost loop: log, count, go on
            log.warning(
                f"{self._name} failed, it will be repeated",
                error=f"{type(error).__name__}: {error}",
                exc_info=self._failures == 0,
            )
            seconds = BACKOFF_SECONDS[min(self._failures, len(BACKOFF_SECONDS) - 1)]
            self._failures += 1
        self._not_before = time.monotonic() + seconds


class TrainerService(Service):
    """Requests due retrainings and executes work orders, one after the other."""

    stuck_after = math.inf  # without Airflow a retraining is a part of the round

    def __init__(
        self,
        specs: Mapping[str, ModelSpec],
        clock: RedisWorldClock,
        store: ScheduleStore,
        launch: Launcher,
        executor: Executor,
        applied: AppliedSpecs,
        held_back: Callable[[], str] = lambda: "",
        nights: BatchNights | None = None,
    ) -> None:
        """held_back: why nothing is decided automatically; "" when nothing stands in its way.

        nights: The nightly batch scoring. It decides nothing, so nothing holds it back.
        """
        super().__init__()
        self._held_back = held_back
        self._specs, self._clock, self._store, self._launch, self._executor = (
            specs,
            clock,
            store,
            launch,
            executor,
        )
        self._applied, self._unrecorded = applied, list(specs.values())
        self._lanes = (
            Lane("record of specs", self._record),
            Lane("scheduled retraining", self._schedule),
            Lane("work order", self._order),
            *([Lane("batch scoring", nights.look)] if nights else []),
        )
        self._orders = ""
        self.models: dict[str, str] = {}  # model -> what its schedule waits for

    def round(self, stop: threading.Event) -> float:
        try:
            if not self._clock.is_set():
                raise ClockNotSetError
            for lane in self._lanes:
                lane.turn(stop)
            self.say("running")
        except ClockNotSetError as error:
            self.models = dict.fromkeys(self._specs, f"waiting: {error}")
            self.say("waiting")
        return POLL_SECONDS

    def details(self) -> Mapping[str, object]:
        return {"models": dict(self.models), "orders": self._orders}

    def _record(self, stop: threading.Event) -> None:
        """Record the changes found at this start, once."""
        while self._unrecorded:
            self._applied.apply(
                self._unrecorded[-1],
                "trainer",
                "the file had changed when the trainer started",
                self._clock.now(),
            )
            self._unrecorded.pop()

    def _schedule(self, stop: threading.Event) -> None:
        for spec in self._specs.values():
            self.look(spec, stop)

    def _order(self, stop: threading.Event) -> None:
        self._orders = self._executor.look(stop)

    def look(self, spec: ModelSpec, stop: threading.Event) -> None:
        """Finish one model's pending job, or begin the due one."""
        if held := self._held_back():
            self.models[spec.name] = f"waiting: {held}"
            return
        now, every = self._clock.now(), spec.training.schedule
        job = self._store.pending(spec.name)
        if job is not None and job.as_of > now:  # it belongs to another world
            self._store.ended(spec.name)
            job = None
        if job is None:
            last = self._store.last(spec.name)
            match state(last, now, every):
                case "begin":
                    self._store.begin(spec.name, now)
                    self.models[spec.name] = f"counting from {now:%Y-%m-%d %H:%M}"
                    return
                case "waiting":
                    assert last is not None
                    self.models[spec.name] = f"waiting for {last + every:%Y-%m-%d %H:%M}"
                    return
            job = scheduled_job(
                spec.name, now, format_duration(every), self._store.count(spec.name)
            )
            self._store.ask(job, now)
        self.models[spec.name] = f"retraining ({job.key})"
        try:
            outcome = self._launch(job, stop)
        except RetrainingRunningError as error:  # the job stays pending
            self.models[spec.name] = f"waiting with {job.key}: {error}"
            RUNS.labels(spec.name, "busy").inc()
            raise
        except Exception as error:
            self.models[spec.name] = f"retrying {job.key}: {type(error).__name__}: {error}"
            RUNS.labels(spec.name, "failed").inc()
            raise
        RUNS.labels(spec.name, outcome).inc()
        log.info("retraining", model=spec.name, job=job.key, outcome=outcome)
        if outcome != "stopped":  # a stopped job continues after the restart
            self._store.ended(spec.name)
