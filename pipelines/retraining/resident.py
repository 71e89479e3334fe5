"""The retrainer's loop: asks for a retraining whenever a model's schedule says so, of Airflow or of a process of its own."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import msgspec
import structlog

from dojo.clock import ClockNotSetError, RedisWorldClock
from dojo.durations import format_duration
from dojo.specs import ModelSpec
from pipelines.airflow_client import AirflowClient, RunExistsError
from pipelines.retraining import trigger
from pipelines.retraining.errors import EXIT_BUSY, EXIT_REFUSED, RetrainingRunningError
from pipelines.retraining.job import Job
from pipelines.retraining.metrics import RUNS
from pipelines.retraining.schedule import ScheduleStore, scheduled_job, state

log = structlog.get_logger()

POLL_SECONDS = 1.0  # wall time; at demo speed 40 world minutes, against a schedule of days
BUSY_SECONDS = 15.0  # until the next look at whether the other retraining has ended; each look costs a process' start
BACKOFF_SECONDS = (5.0, 15.0, 60.0)  # after a failure; the last one repeats


class ChildKilledError(RuntimeError):
    """The process that ran a job was killed: by an operator, or for want of memory."""


class Launcher(Protocol):
    """Has a job done. Returns how it ended; a job that was asked for before is not done twice. Raises on faults that
    may pass, RetrainingRunningError when another retraining of the model is in the way; then the job is still to be done."""

    def __call__(self, job: Job, stop: threading.Event) -> str: ...


@dataclass(frozen=True, slots=True)
class InAirflow:
    """Asks Airflow for a run; from there on it is Airflow's."""

    client: AirflowClient

    def __call__(self, job: Job, stop: threading.Event) -> str:
        asked = {"as_of": job.as_of.isoformat(), "reason": job.reason, "who": job.who, "dry_run": job.dry_run}
        try:
            trigger.ask(self.client, job.model, asked, run_id=job.key)
        except RunExistsError:
            return "asked before"
        return "asked"


class InChild:
    """Runs the job in a child process and waits for it; memory and crashes stay there. It inherits the retrainer's niceness."""

    def __call__(self, job: Job, stop: threading.Event) -> str:
        command = [sys.executable, "-m", "pipelines.retraining.run_job"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as child:
            assert child.stdin is not None
            child.stdin.write(msgspec.json.encode(job))
            child.stdin.close()
            while child.poll() is None:
                if stop.wait(0.2):
                    child.terminate()
                    return "stopped"
        if child.returncode == EXIT_BUSY:  # nobody was told, and nothing was done: it is this job's turn later
            raise RetrainingRunningError(f"{job.model}: another retraining is running")
        if child.returncode < 0:  # killed: it is run again, and goes on
            raise ChildKilledError(f"{job.model}: the retraining was ended by signal {-child.returncode}")
        # Of others the child has told the model's owner, after its own retries: the next one is the schedule's.
        return {0: "done", EXIT_REFUSED: "refused"}.get(child.returncode, "failed")


@dataclass
class Status:
    """What /healthz tells. A failing retraining is retried and says so; the process itself is well."""

    models: dict[str, str] = field(default_factory=dict)

    def health(self) -> tuple[bool, Mapping[str, object]]:
        return True, {"models": dict(self.models)}


def run(
    specs: Mapping[str, ModelSpec],
    clock: RedisWorldClock,
    store: ScheduleStore,
    launch: Launcher,
    status: Status,
    stop: threading.Event,
    pause: Callable[[float], object] | None = None,
) -> None:
    """Ask for retrainings, one at a time, whenever they are due until `stop`, through any outage."""
    wait = pause or stop.wait
    failures = 0
    while not stop.is_set():
        seconds = POLL_SECONDS
        try:
            if not clock.is_set():
                raise ClockNotSetError
            for spec in specs.values():
                look(spec, clock, store, launch, status, stop)
            failures = 0
        except ClockNotSetError as error:
            status.models = dict.fromkeys(specs, f"waiting: {error}")
        except RetrainingRunningError as error:
            log.info("it will be its turn later", why=str(error))
            seconds = BUSY_SECONDS
        except Exception as error:  # the outermost loop: log, count, go on
            log.warning(
                "retraining failed, it will be repeated", error=f"{type(error).__name__}: {error}", exc_info=failures == 0
            )
            seconds = BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)]
            failures += 1
        wait(seconds)


def look(
    spec: ModelSpec, clock: RedisWorldClock, store: ScheduleStore, launch: Launcher, status: Status, stop: threading.Event
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
