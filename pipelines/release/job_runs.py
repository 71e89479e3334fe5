"""One MLflow run per retraining.

Its job's key finds it again, and it has this key from its creation.

MLflow writes a run and its first tags in one transaction. A task killed after creating the run
finds it and continues it. All its logging can be repeated.
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
WHO_TAG = "dojo.who"
DRY_RUN_TAG = "dojo.dry_run"
FINISHED = "FINISHED"


@dataclass(frozen=True, slots=True)
class JobTags:
    """The tags of a retraining's run beside its record.

    Attributes:
        key: The job's key, which finds the run again.
        reason: Why it was asked for.
        who: Who asked.
        dry_run: True if nothing may be registered.
    """

    key: str
    reason: str
    who: str
    dry_run: bool

    def written(self) -> dict[str, str]:
        rehearsed = {DRY_RUN_TAG: "true"} if self.dry_run else {}
        return {JOB_TAG: self.key, "dojo.reason": self.reason, WHO_TAG: self.who, **rehearsed}


def find_run(registry: ModelRegistry, model: str, job: str) -> MlflowRun | None:
    """Return the run of a job. None when it has none yet.

    Raises:
        RegistryUnavailableError: MLflow does not answer.
    """
    with tracking_errors(model, f"run of job {job}"):
        experiment = tracking_client(registry).get_experiment_by_name(model)
        if experiment is None:
            return None
        found = tracking_client(registry).search_runs(
            [experiment.experiment_id], f"tags.`{JOB_TAG}` = '{job}'", max_results=1
        )
        return found[0] if found else None


def newest_judged_run(registry: ModelRegistry, model: str) -> str | None:
    """Return the id of the model's newest run with a gate verdict.

    Raises:
        RegistryUnavailableError: MLflow does not answer.
    """
    with suppress(UnknownVersionError):  # the model was never trained
        return registry.api.newest_run(model, GATE_VERDICT)
    return None


def logged_decision(registry: ModelRegistry, model: str, run_id: str) -> GateDecision:
    """Return the gate's decision in a run.

    Raises:
        UnknownVersionError: The run holds none.
        RegistryUnavailableError: MLflow does not answer.
    """
    with TemporaryDirectory() as directory:
        try:
            path = registry.run_artifact(run_id, f"{GATE_PATH}/{DECISION_FILE}", Path(directory))
        except UnknownVersionError as error:
            raise UnknownVersionError(f"{model}: run {run_id} never met the gate") from error
        return GateDecision.read(path)


def create_run(
    registry: ModelRegistry, model: str, name: str, tags: Mapping[str, str]
) -> MlflowRun:
    """Create a run in the model's experiment, with its tags from the first moment."""
    client = tracking_client(registry)
    experiment = client.get_experiment_by_name(model)
    experiment_id = experiment.experiment_id if experiment else client.create_experiment(model)
    return client.create_run(experiment_id, run_name=name, tags=dict(tags))


def run_of_job(
    registry: ModelRegistry, model: str, job: JobTags, name: str, record: VersionTags
) -> MlflowRun:
    """Return the run of this job, either its existing one or a new one.

    A finished run stays unchanged, because the job was decided on it. An unfinished run of other
    data (collected again since) is deleted, because MLflow's parameters cannot be changed.

    Args:
        registry: The model registry.
        model: The model.
        job: Tags of the job.
        name: Name of a new run.
        record: The reproducibility record. It is on the run from its creation.
    """
    found = find_run(registry, model, job.key)
    if found is not None:
        if found.info.status == FINISHED:
            return found
        before = VersionTags.read(found.data.tags)
        # The commit may differ, because an engineer may have fixed the code.
        if (before.data_sha256, before.model_sha256) == (record.data_sha256, record.model_sha256):
            tracking_client(registry).update_run(found.info.run_id, status="RUNNING")
            return found
        tracking_client(registry).delete_run(found.info.run_id)
    return create_run(registry, model, name, {**job.written(), **record.written()})
