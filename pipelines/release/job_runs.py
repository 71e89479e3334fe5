"""One MLflow run per retraining: found again by its job's key, which it carries from the moment it exists.

MLflow writes a run and its first tags in one transaction. A task that was killed after creating the run finds it, and goes on with it;
everything it logs may be logged twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from dojo.core.judging.gate.decision import DECISION_FILE, GATE_PATH, GateDecision
from dojo.core.registry.errors import UnknownVersionError
from dojo.core.registry.tags import GATE_VERDICT, VersionTags
from dojo.core.registry.versions import ModelRegistry
from pipelines.release.tracking import tracking_client, tracking_errors

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun

JOB_TAG = "dojo.job"
DRY_RUN_TAG = "dojo.dry_run"
FINISHED = "FINISHED"


@dataclass(frozen=True, slots=True)
class JobTags:
    """What a retraining's run carries beside its record. `key`: of the job, by which the run is found again."""

    key: str
    reason: str
    who: str
    dry_run: bool

    def written(self) -> dict[str, str]:
        rehearsed = {DRY_RUN_TAG: "true"} if self.dry_run else {}
        return {JOB_TAG: self.key, "dojo.reason": self.reason, "dojo.who": self.who, **rehearsed}


def find_run(registry: ModelRegistry, model: str, job: str) -> MlflowRun | None:
    """The run of a job, None when it has none yet. Raises RegistryUnavailableError."""
    with tracking_errors(model, f"run of job {job}"):
        experiment = tracking_client(registry).get_experiment_by_name(model)
        if experiment is None:
            return None
        found = tracking_client(registry).search_runs([experiment.experiment_id], f"tags.`{JOB_TAG}` = '{job}'", max_results=1)
        return found[0] if found else None


def newest_judged_run(registry: ModelRegistry, model: str) -> str | None:
    """The id of the model's newest run that met the gate. Raises RegistryUnavailableError."""
    with suppress(UnknownVersionError):  # the model was never trained
        return registry.api.newest_run(model, GATE_VERDICT)
    return None


def logged_decision(registry: ModelRegistry, model: str, run_id: str) -> GateDecision:
    """The gate's decision that a run holds.

    Raises:
        UnknownVersionError: it holds none. RegistryUnavailableError: MLflow does not answer.
    """
    with TemporaryDirectory() as directory:
        try:
            path = registry.run_artifact(run_id, f"{GATE_PATH}/{DECISION_FILE}", Path(directory))
        except UnknownVersionError as error:
            raise UnknownVersionError(f"{model}: run {run_id} never met the gate") from error
        return GateDecision.read(path)


def create_run(registry: ModelRegistry, model: str, name: str, tags: Mapping[str, str]) -> MlflowRun:
    """A new run in the model's experiment, with its tags from the first moment."""
    client = tracking_client(registry)
    experiment = client.get_experiment_by_name(model)
    experiment_id = experiment.experiment_id if experiment else client.create_experiment(model)
    return client.create_run(experiment_id, run_name=name, tags=dict(tags))


def run_of_job(registry: ModelRegistry, model: str, job: JobTags, name: str, record: VersionTags) -> MlflowRun:
    """The run of this job: the one it has, or a new one.

    A finished run stays what it is: the job was decided on it. An unfinished one of other data (collected again since) is deleted,
    because MLflow's parameters cannot be changed.

    Args:
        record: The reproducibility record. It is on the run from its creation.
    """
    found = find_run(registry, model, job.key)
    if found is not None:
        if found.info.status == FINISHED:
            return found
        before = VersionTags.read(found.data.tags)
        # The commit may differ: an engineer mended the code.
        if (before.data_sha256, before.model_sha256) == (record.data_sha256, record.model_sha256):
            tracking_client(registry).update_run(found.info.run_id, status="RUNNING")
            return found
        tracking_client(registry).delete_run(found.info.run_id)
    return create_run(registry, model, name, {**job.written(), **record.written()})
