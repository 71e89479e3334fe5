"""The trainer's loop: asks for a retraining whenever a model's schedule says so, of Airflow or of a process of its own, and executes what
others order (work.py)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import msgspec
import structlog

from dojo.core.spec.durations import format_duration
from dojo.core.spec.load import ModelSpec
from dojo.core.state.clock import ClockNotSetError, RedisWorldClock
from pipelines.training.errors import RetrainingRunningError
from pipelines.training.job import Job
from pipelines.training.schedule import ScheduleStore, scheduled_job, state
from services.trainer import airflow as trigger
from services.trainer.airflow_client import AirflowClient, RunExistsError
from services.trainer.child import run_in_child
from services.trainer.metrics import RUNS
from services.trainer.order_executor import Executor

log = structlog.get_logger()

POLL_SECONDS = 1.0  # wall time; at demo speed 40 world minutes, against a schedule of days
BUSY_SECONDS = 15.0  # until the next look at whether the other retraining has ended; each look costs a process' start
BACKOFF_SECONDS = (5.0, 15.0, 60.0)  # after a failure; the last one repeats


class Launcher(Protocol):
    """Has a job done. Returns how it ended; a job that was asked for before is not done twice. Raises on faults that
    may pass, RetrainingRunningError when another retraining of the model is in the way; then the job is still to be done."""

    def __call__(self, job: Job, stop: threading.Event) -> str: ...


@dataclass(frozen=True, slots=True)
class InAirflow:
    """Asks Airflow for a run; from there on it is Airflow's."""

    client: AirflowClient

    def __call__(self, job: Job, stop: threading.Event) -> str:
        try:
            trigger.ask(self.client, job.model, trigger.parameters(job), run_id=job.key)
        except RunExistsError:
            return "asked before"
        return "asked"


class InChild:
    """Runs the job in a child process and waits for it. Of what it refuses or fails at, the child has told the model's owner after its own
    retries: the next one is the schedule's."""

    def __call__(self, job: Job, stop: threading.Event) -> str:
        return run_in_child("services.trainer.run_job", msgspec.json.encode(job), job.model, stop).outcome


@dataclass
class TrainerStatus:
    """What /healthz tells. A failing retraining is retried and says so; the process itself is well."""

    models: dict[str, str] = field(default_factory=dict)
    orders: str = ""

    def health(self) -> tuple[bool, Mapping[str, object]]:
        return True, {"models": dict(self.models), "orders": self.orders}


class Lane:
    """One kind of work with a backoff of its own: while one lane fails, the other goes on."""

    def __init__(self, name: str, work: Callable[[], object]) -> None:
        self._name, self._work = name, work
        self._failures, self._not_before = 0, 0.0

    def turn(self) -> None:
        """Work, if it is time for it. Raises only ClockNotSetError."""
        if time.monotonic() < self._not_before:
            return
        try:
            self._work()
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


def run(
    specs: Mapping[str, ModelSpec],
    clock: RedisWorldClock,
    store: ScheduleStore,
    launch: Launcher,
    executor: Executor,
    status: TrainerStatus,
    stop: threading.Event,
) -> None:
    """Ask for retrainings whenever they are due, and execute what is ordered, one after the other until `stop`, through any outage."""

    def world_has_a_time() -> None:
        if not clock.is_set():
            raise ClockNotSetError

    def schedule() -> None:
        world_has_a_time()
        for spec in specs.values():
            look(spec, clock, store, launch, status, stop)

    def orders() -> None:
        world_has_a_time()
        status.orders = executor.look(stop)

    lanes = (Lane("scheduled retraining", schedule), Lane("work order", orders))
    while not stop.is_set():
        try:
            for lane in lanes:
                lane.turn()
        except ClockNotSetError as error:
            status.models = dict.fromkeys(specs, f"waiting: {error}")
        stop.wait(POLL_SECONDS)


def look(
    spec: ModelSpec,
    clock: RedisWorldClock,
    store: ScheduleStore,
    launch: Launcher,
    status: TrainerStatus,
    stop: threading.Event,
) -> None:
    """One model: finish what is pending, or begin what is due."""
    now, every = clock.now(), spec.training.schedule
    job = store.pending(spec.name)
    if job is not None and job.as_of > now:  # of another world
        store.ended(spec.name)
        job = None
    if job is None:
        last = store.last(spec.name)
        match state(last, now, every):
            case "begin":
                store.begin(spec.name, now)
                status.models[spec.name] = f"counting from {now:%Y-%m-%d %H:%M}"
                return
            case "waiting":
                assert last is not None
                status.models[spec.name] = f"waiting for {last + every:%Y-%m-%d %H:%M}"
                return
        job = scheduled_job(spec.name, now, format_duration(every), store.count(spec.name))
        store.ask(job, now)
    status.models[spec.name] = f"retraining ({job.key})"
    try:
        outcome = launch(job, stop)
    except RetrainingRunningError as error:  # the job stays pending
        status.models[spec.name] = f"waiting with {job.key}: {error}"
        RUNS.labels(spec.name, "busy").inc()
        raise
    except Exception as error:
        status.models[spec.name] = f"retrying {job.key}: {type(error).__name__}: {error}"
        RUNS.labels(spec.name, "failed").inc()
        raise
    RUNS.labels(spec.name, outcome).inc()
    log.info("retraining", model=spec.name, job=job.key, outcome=outcome)
    if outcome != "stopped":  # goes on after the restart
        store.ended(spec.name)
