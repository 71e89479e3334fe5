"""Executes work orders (dojo/core/state/work_orders.py) in the trainer process.

    retrain        like a scheduled job: a run of the model's DAG, followed through Airflow's API;
                   without Airflow a child process
    evaluate       a child process: pipelines/champion_check
    drift_report   a child process: pipelines/drift_report

One child runs at a time, and the schedule gets its turn between two, because each may need a
gigabyte. Runs in Airflow are only followed. The job of a retrain order is named after the order.
The name is noted in the order first. A trainer restarted after a kill therefore continues the same
job.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import msgspec
import structlog

from dojo.core.state.clock import wall_now
from dojo.core.state.work_orders import (
    NO_DEADLINE,
    Work,
    WorkOrder,
    WorkOrders,
    is_overdue,
    overdue_words,
)
from dojo.core.state.work_orders import Ended as State
from dojo.core.tasks.specs import LoadedSpecs
from pipelines.dags.failure_notes import failure_note
from pipelines.training.errors import RetrainingRunningError
from pipelines.training.job import RUN_TIMEOUT, Job
from services.trainer import airflow as trigger
from services.trainer.airflow_client import (
    AirflowClient,
    AirflowError,
    AirflowUnavailableError,
    DagPausedError,
    RunExistsError,
)
from services.trainer.child import ChildKilledError, Ended, run_in_child
from services.trainer.metrics import ORDERS

# World time by which the ordering process' clock may be ahead. A process learns of a slower pace
# half a second late. This is an hour at 7,200 times real time.
CLOCKS_DIFFER = timedelta(days=1)

# Maximum attempts per order. An order that is killed (out of memory) or refused by Airflow this
# often ends as failed.
MAX_ATTEMPTS = 4
# Wall time until the next try while another retraining of the model runs. A try costs a process
# start.
BUSY_SECONDS = 15.0
AIRFLOW_PATIENCE = 2 * RUN_TIMEOUT  # wall time; a working Airflow has ended the run itself by then

log = structlog.get_logger()


class ChildRunner(Protocol):
    """The type of child.run_in_child."""

    def __call__(self, module: str, content: bytes, what: str, stop: threading.Event) -> Ended: ...


class AskedOrder(msgspec.Struct, frozen=True):
    """The input of a child.

    Attributes:
        as_of: World time of the order's beginning, the same at every try.
    """

    order: WorkOrder
    as_of: datetime


class Executor:
    """Moves open orders on. After an error, the caller may repeat `look`.

    Args:
        now: Returns the world's time.
        airflow: None without Airflow.
        deadline: Wall time that an order may wait from its placing on. A run ends by its own
                limits.
    """

    def __init__(
        self,
        orders: WorkOrders,
        loaded: LoadedSpecs,
        now: Callable[[], datetime],
        home: Path,
        airflow: AirflowClient | None,
        child: ChildRunner = run_in_child,
        deadline: timedelta = NO_DEADLINE,
    ) -> None:
        self._orders, self._loaded, self._now, self._home = orders, loaded, now, home
        self._airflow, self._child, self._deadline = airflow, child, deadline
        self._begun: set[str] = set()  # by this process, and not interrupted since
        self._not_before: dict[str, float] = {}

    def look(self, stop: threading.Event) -> str:
        """Take one turn: check every run in Airflow, begin or repeat at most one child.

        Returns:
            The work in progress, in words.

        Raises:
            redis.RedisError: Redis is out of reach. Try again later.
            ChildKilledError: A child was killed. The order stays open.
            AirflowError: Airflow refused or is away. The order stays open.
        """
        going_on = []
        for work in self._orders.open():
            order = work.order
            if stop.is_set() or time.monotonic() < self._not_before.get(order.id, 0.0):
                continue
            if reason := self._refusal(order):
                self._end(work, "refused", {"error": reason})
            elif (order.kind != "retrain" or self._airflow is None) and is_overdue(
                work, self._deadline
            ):
                self._give_up(work, str(work.notes.get("error", "other work came before it")))
            elif (begun := self._begin(work)) is None:
                why = work.notes.get("error", "it left no word: whoever ran it was killed")
                self._end(
                    work,
                    "failed",
                    {"error": f"it was begun {MAX_ATTEMPTS} times; the last try: {why}"},
                )
            elif order.kind == "retrain" and self._airflow is not None:
                going_on += self._follow(begun, self._airflow)
            else:
                try:
                    self._in_child(begun, stop)
                except RetrainingRunningError as busy:
                    self._not_before[order.id] = time.monotonic() + BUSY_SECONDS
                    going_on.append(str(busy))
                    continue  # other orders need not wait
                break
        return "; ".join(going_on)

    def _refusal(self, order: WorkOrder) -> str:
        if fault := self._loaded.faults.get(order.model):
            return f"the spec of {order.model} was wrong when the trainer started: {fault}"
        if order.model not in self._loaded.specs:
            return f"there is no model {order.model}"
        if order.world_time > self._now() + CLOCKS_DIFFER:
            return (
                f"it is from {order.world_time:%Y-%m-%d %H:%M}, which this world has not reached:"
                " of another world"
            )
        return ""

    def _begin(self, work: Work) -> Work | None:
        """Begin an order and note its moment. Returns None after too many attempts."""
        order = work.order
        if order.id not in self._begun:
            if work.attempts >= MAX_ATTEMPTS:
                return None
            if "as_of" not in work.notes:
                self._orders.note(order.id, as_of=self._now().isoformat())
            work = self._orders.begin(order.id)
            self._begun.add(order.id)
            log.info(
                "work order",
                model=order.model,
                order=order.id,
                kind=order.kind,
                why=order.why,
                attempt=work.attempts,
            )
        return work

    def _in_child(self, work: Work, stop: threading.Event) -> None:
        order, as_of = work.order, datetime.fromisoformat(work.notes["as_of"])
        what = f"{order.model}: order {order.id} to {order.kind}"
        try:
            if order.kind == "retrain":
                ended = self._child(
                    "services.trainer.run_job", msgspec.json.encode(_job(order, as_of)), what, stop
                )
            else:
                ended = self._child(
                    "services.trainer.run_order",
                    msgspec.json.encode(AskedOrder(order, as_of)),
                    what,
                    stop,
                )
        except ChildKilledError as error:
            self._try_again(order, error)
            raise
        if ended.outcome != "stopped":  # a stopped order continues after the restart
            self._end(
                work,
                ended.outcome,
                ended.answer or {"error": "it ended without a word; the trainer's log says why"},
            )

    def _follow(self, work: Work, airflow: AirflowClient) -> list[str]:
        order, as_of = work.order, datetime.fromisoformat(work.notes["as_of"])
        try:
            if "run" not in work.notes:
                self._ask(order, as_of, airflow)
            answer = trigger.look(
                airflow,
                order.model,
                order.id,
                failure_note(self._home, trigger.dag_id(order.model), order.id),
            )
        except (DagPausedError, trigger.RunWaitsError) as error:
            return self._wait(work, error, airflow)
        except AirflowUnavailableError as error:
            waited = wall_now() - (work.started_at or wall_now())
            if waited < AIRFLOW_PATIENCE:
                return [f"{order.id}: {error}"]
            self._end(
                work,
                "failed",
                {"error": f"{error} (for {waited / timedelta(minutes=1):.0f} minutes)"},
            )
        except trigger.RetrainingFailedError as error:
            self._end(work, "failed", {"error": str(error)})
        except AirflowError as error:
            if "run" in work.notes:  # Airflow had the run and has lost it
                self._end(work, "failed", {"error": str(error)})
            else:  # Airflow may not have read the DAG yet
                self._try_again(order, error)
                raise
        else:
            if work.notes.get("waits"):
                self._orders.note(order.id, waits="")
            if answer is None:
                return [f"{order.id} runs in Airflow"]
            self._end(work, "done", answer)
        return []

    def _wait(self, work: Work, why: Exception, airflow: AirflowClient) -> list[str]:
        """Leave an order that Airflow does not begin until its deadline.

        The order notes a pause, so that its owner can tell.
        """
        order = work.order
        if is_overdue(work, self._deadline):
            if (
                "run" in work.notes
            ):  # otherwise it would begin when the DAG is unpaused, long after its occasion
                airflow.give_up(trigger.dag_id(order.model), order.id)
            self._give_up(work, str(why))
            return []
        if isinstance(why, DagPausedError):
            words = (
                f"{why}. Next: {trigger.unpause_command(order.model)}, or"
                f" {trigger.cancel_command(order.model)}"
            )
            if work.notes.get("waits") != words:
                self._orders.note(order.id, waits=words)
                log.warning("work order waits", model=order.model, order=order.id, why=words)
        return [f"{order.id}: {why}"]

    def _give_up(self, work: Work, why: str) -> None:
        self._end(work, "failed", {"error": overdue_words(self._deadline, why)})

    def _try_again(self, order: WorkOrder, error: Exception) -> None:
        """Let the next look begin the order once more. This counts as an attempt."""
        self._orders.note(order.id, error=str(error))
        self._begun.discard(order.id)

    def _ask(self, order: WorkOrder, as_of: datetime, airflow: AirflowClient) -> None:
        job = _job(order, as_of)
        try:
            trigger.ask(airflow, job.model, trigger.parameters(job), run_id=job.key)
        except RunExistsError:
            log.info("asked for before", model=job.model, order=order.id)
        self._orders.note(order.id, run=job.key)

    def _end(self, work: Work, state: State, answer: Mapping[str, Any]) -> None:
        order = work.order
        self._orders.end(order.id, state, answer)
        self._begun.discard(order.id)
        self._not_before.pop(order.id, None)
        ORDERS.labels(order.model, order.kind, state).inc()
        said = answer.get("error") or answer.get("outcome") or answer.get("verdict")
        log.info(
            "work order ended",
            model=order.model,
            order=order.id,
            kind=order.kind,
            state=state,
            said=said,
        )


def _job(order: WorkOrder, as_of: datetime) -> Job:
    return Job(model=order.model, key=order.id, as_of=as_of, reason=order.why, who=order.who)
