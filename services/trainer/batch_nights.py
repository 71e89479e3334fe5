"""Asks for the nightly batch scoring of each model whose spec has a `batch` section."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol

import msgspec
import structlog

from dojo.core.spec.schema import ModelSpec
from pipelines.batch_scoring.nights import Night, NightsAsked
from pipelines.training.schedule import ScheduleStore
from services.trainer.airflow_client import AirflowClient, RunExistsError
from services.trainer.child import run_in_child

log = structlog.get_logger()


class NightLauncher(Protocol):
    """Has a night done and returns how it ended. "" when an earlier night still runs.

    Raises errors that may pass.
    """

    def __call__(self, night: Night, stop: threading.Event) -> str: ...


class NightsInAirflow:
    """Asks Airflow for a run of `score_<model>`, unless one is active."""

    def __init__(self, client: AirflowClient, schedule: ScheduleStore) -> None:
        self._client, self._schedule = client, schedule

    def __call__(self, night: Night, stop: threading.Event) -> str:
        dag_id = f"score_{night.model}"
        if any(not run.finished for run in self._client.runs(dag_id)):
            return ""
        day = night.day.isoformat()
        reason = f"scheduled, the night after {day}"
        # An Airflow elsewhere outlives a world, and another world has the same days.
        run_id = f"{night.key}-{self._schedule.count(night.model)}"
        try:
            self._client.trigger(dag_id, {"day": day, "reason": reason}, run_id, note=reason)
        except RunExistsError:
            return "asked before"
        return "asked"


def nights_in_child(night: Night, stop: threading.Event) -> str:
    """Score in a child process and wait for it."""
    content = msgspec.json.encode(night)
    what = f"{night.model}: batch scores of {night.day}"
    return run_in_child("services.trainer.run_night", content, what, stop).outcome


class BatchNights:
    """The nights of all models.

    Args:
        specs: Specs by name.
        now: Returns the world's time.
        store: The nights asked for.
        launch: Has a night done.
    """

    def __init__(
        self,
        specs: Mapping[str, ModelSpec],
        now: Callable[[], datetime],
        store: NightsAsked,
        launch: NightLauncher,
    ) -> None:
        self._batches = {name: spec.batch for name, spec in specs.items() if spec.batch is not None}
        self._now, self._store, self._launch = now, store, launch

    def look(self, stop: threading.Event) -> None:
        """Ask for each due night once.

        Raises:
            ClockNotSetError: The world has no time.
            redis.RedisError, AirflowError, ChildKilledError: The night stays due.
        """
        for model, batch in self._batches.items():
            night = self._store.due(model, batch, self._now())
            if night is None:
                continue
            outcome = self._launch(night, stop)
            if outcome in ("", "stopped"):  # it is asked for again, for the day due then
                continue
            log.info("batch scoring", model=model, day=night.day.isoformat(), outcome=outcome)
            self._store.asked(night)
