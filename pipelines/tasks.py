"""The tasks of a retraining: one function per step. A scheduler may run each in its own process.

    collect -> validate -> build_dataset -> train -> evaluate -> compare
      compare --promote---> register -> start_rollout
              |------first-----> register            (it becomes champion)
              |------keep------> keep_champion
              \\-----regression-> alert_regression
      without a gate: evaluate -> register           (it becomes champion or challenger)

Each task takes the job and returns something small: paths, ids, a verdict. Everything large stays
in the job's workspace. A task may be killed at any point and run again under the same `job.key`.
The job still ends in one MLflow run, at most one version, and the same roles.

The error of a task shows whether repeating helps. After `REFUSALS` it ends the same until a person
mends something. Every other error may pass. A dry run ends after `compare`.
"""

from __future__ import annotations

from typing import Any

import msgspec
import polars as pl
from redis.exceptions import RedisError

from dojo.core.connections import connect_redis
from dojo.core.judging.gate.decision import GATE_PATH, GateDecision
from dojo.core.lake import Lake
from dojo.core.registry.bundle import MODEL_FILE, CorruptBundleError
from dojo.core.registry.tags import VersionTags
from dojo.core.registry.versions import ModelRegistry
from dojo.core.settings import Settings
from dojo.core.spec.read import SpecError
from dojo.core.state.atomic import ConflictError
from dojo.core.tasks.specs import load_spec
from pipelines.gate import decide as gate
from pipelines.gate.champion import champion_profile
from pipelines.release import mlflow_run as log
from pipelines.release.after_gate import alert_regression, keep_champion, register, start_rollout
from pipelines.release.artefacts import BUNDLE_PATH
from pipelines.release.job_runs import FINISHED, JobTags, find_run, logged_decision
from pipelines.release.notices import RetrainingNotices
from pipelines.release.tracking import tracking_client, tracking_errors
from pipelines.training import steps, workspaces
from pipelines.training.dataset.build import DATASET_FILE
from pipelines.training.dataset.collect import MANIFEST_FILE
from pipelines.training.errors import RefusedError, WorkspaceGoneError
from pipelines.training.job import Job
from pipelines.training.registry_check import require_registry
from pipelines.training.schedule import ScheduleStore
from pipelines.training.smaller import call_teacher
from pipelines.training.steps import Progress, Run, silent

__all__ = [
    "REFUSALS",
    "TRANSIENT",
    "alert_regression",
    "build_dataset",
    "collect",
    "compare",
    "evaluate",
    "keep_champion",
    "register",
    "start_rollout",
    "train",
    "validate",
]

# Repeating the task ends the same until a person mends something. A scheduler fails the job at once
# and notifies the owner.
REFUSALS: tuple[type[Exception], ...] = (RefusedError, CorruptBundleError, SpecError)

# Faults of a disk, a server or a network, and concurrent changes, may be over at the next try.
# MLflow out of reach is an OSError.
TRANSIENT: tuple[type[Exception], ...] = (
    OSError,
    RedisError,
    ConflictError,
    pl.exceptions.ComputeError,
)


def collect(job: Job, settings: Settings, progress: Progress = silent) -> dict[str, Any]:
    """Pin the data.

    Returns:
        workspace, and start and end of the examples as ISO times.

    Raises:
        StaleDataError, TooFewRowsError, RegistryChangedError: refusals. TrainingRefusedError where
            nothing can be made smaller.
        TRANSIENT: lake, Redis or MLflow could not be read; repeat it.
    """
    run = run_of(job, settings, progress)
    run.workspace.mkdir(parents=True, exist_ok=True)
    (run.workspace / "job.json").write_bytes(
        msgspec.json.format(msgspec.json.encode(job), indent=2)
    )
    records = RetrainingNotices(connect_redis(settings.redis), job)
    records.write("started", "retraining", f"a retraining as of {job.as_of:%Y-%m-%d %H:%M} began")
    if not job.dry_run:
        ScheduleStore(records.redis).began(job.model, records.world_now())
    steps.collect_step(run, job.as_of)
    require_registry(
        job, ModelRegistry.of(settings), records.redis
    )  # before minutes of work that would end there
    if job.smaller is not None:
        call_teacher(job.smaller, run.spec, ModelRegistry.of(settings), run.workspace)
    manifest = run.manifest
    return {
        "workspace": str(run.workspace),
        "start": manifest.start.isoformat(),
        "end": manifest.end.isoformat(),
    }


def validate(job: Job, settings: Settings, progress: Progress = silent) -> dict[str, Any]:
    """Refuse bad data.

    Returns:
        files, the number of pinned files.

    Raises:
        InvalidDataError: A refusal, with a line for each fault.
    """
    run = run_of(job, settings, progress, (MANIFEST_FILE, "collect"))
    steps.validate_step(run)
    return {"files": len(run.manifest.files)}


def build_dataset(job: Job, settings: Settings, progress: Progress = silent) -> dict[str, Any]:
    """Build the examples with point-in-time features, and compare them with the champion's.

    Returns:
        dataset, its path, and rows, their number.

    Raises:
        InvalidDataError: A refusal, with a line for each feature that broke or knows the label.
    """
    run = run_of(job, settings, progress, (MANIFEST_FILE, "collect"))
    steps.build_dataset_step(run, champion_profile(ModelRegistry.of(settings), job.model))
    dataset = run.workspace / DATASET_FILE
    return {
        "dataset": str(dataset),
        "rows": pl.scan_parquet(dataset, glob=False).select(pl.len()).collect().item(),
    }


def train(job: Job, settings: Settings, progress: Progress = silent) -> dict[str, Any]:
    """Fit the model, convert it, and prove parity.

    Returns:
        trees, their number, and model_sha256.

    Raises:
        UselessPartError: A refusal. The labels of a part teach or show nothing.
        CorruptBundleError: A refusal. The converted model differs from the trained one.
    """
    run = run_of(job, settings, progress, (DATASET_FILE, "build_dataset"))
    steps.train_step(run)
    fit = steps.read_fit(run.workspace)
    return {"trees": fit.trees, "model_sha256": fit.model_sha256}


def evaluate(job: Job, settings: Settings, progress: Progress = silent) -> dict[str, Any]:
    """Judge the challenger on its holdout and log its MLflow run, which stays open for the gate.

    Returns:
        run_id, and the primary metric by its name.
    """
    registry = ModelRegistry.of(settings)
    logged = find_run(registry, job.model, job.key)
    primary = load_spec(settings.models_dir / f"{job.model}.yaml").gate.primary_metric
    if (
        job.gate and logged is not None and logged.info.status == FINISHED
    ):  # the gate has decided about it
        return {"run_id": logged.info.run_id, primary: logged.data.metrics[primary]}
    run = run_of(job, settings, progress, (DATASET_FILE, "build_dataset"), (MODEL_FILE, "train"))
    require_registry(job, registry, connect_redis(settings.redis))
    steps.evaluate_step(run)
    run_id = log.log_run(run, registry, JobTags(job.key, job.reason, job.who, job.dry_run))
    return {"run_id": run_id, primary: steps.read_evaluation(run.workspace).metrics[primary]}


def compare(job: Job, settings: Settings, progress: Progress = silent) -> dict[str, Any]:
    """Run the gate. It decides once per job, and reports to the MLflow run and the audit trail.

    Returns:
        outcome (promote | keep | regression | first), verdict, gain, low and high. These are None
        where nothing was compared. Also vetoes, reason, champion (its version), metrics (the
        challenger's, on the holdout) and run_id.

    Raises:
        RegistryChangedError: A refusal. The champion in the registry, for the comparison, is not
            the version that serves.
    """
    registry, records = (
        ModelRegistry.of(settings),
        RetrainingNotices(connect_redis(settings.redis), job),
    )
    progress("compare", 0.0)
    logged = find_run(registry, job.model, job.key)
    if logged is None:
        raise WorkspaceGoneError(
            f"{job.model}: job {job.key} has no MLflow run: run it again from evaluate on"
        )
    if logged.info.status == FINISHED:  # decided before; the champion may have changed
        return said(logged_decision(registry, job.model, logged.info.run_id))
    run = run_of(
        job, settings, progress, (DATASET_FILE, "build_dataset"), (BUNDLE_PATH, "evaluate")
    )
    require_registry(job, registry, records.redis)
    run_id = logged.info.run_id
    decision = gate.decide(run, registry, job.key, run_id)
    with tracking_errors(job.model, f"run {run_id}"):
        tracking_client(registry).log_artifacts(run_id, str(run.workspace / GATE_PATH), GATE_PATH)
        for name, value in _gate_tags(decision).written().items():
            tracking_client(registry).set_tag(run_id, name, value)
    words = (
        f"gate{' (dry run)' if job.dry_run else ''}: {decision.verdict} -> {decision.outcome}."
        f" {decision.reason}"
    )
    records.write("gate", "gate", words, after=msgspec.to_builtins(decision))
    if job.dry_run:
        workspaces.end(job, settings.home)
    else:
        ScheduleStore(records.redis).finish(job.model, records.world_now())
    with tracking_errors(job.model, f"run {run_id}"):
        tracking_client(registry).set_terminated(run_id, FINISHED)  # last: makes the decision final
    return said(decision)


def run_of(
    job: Job, settings: Settings, progress: Progress = silent, *needs: tuple[str, str]
) -> Run:
    """Return the job's run.

    Args:
        job: The retraining.
        settings: The platform's settings.
        progress: Called with a step and its done share.
        needs: Pairs of a file in the workspace and the task that leaves it there.

    Raises:
        WorkspaceGoneError: A needed file is missing.
        SpecError: The spec cannot be read.
    """
    for file, step in needs:
        workspaces.require(job, settings.home, file, step)
    spec = load_spec(settings.models_dir / f"{job.model}.yaml")
    return Run(Lake(settings.lake_dir), spec, job.workspace(settings.home), progress)


def _gate_tags(decision: GateDecision) -> VersionTags:
    return VersionTags(
        gate_verdict="first" if decision.outcome == "first" else decision.verdict,
        gate_gain=decision.gain,
        gate_interval=(
            (decision.low, decision.high)
            if decision.low is not None and decision.high is not None
            else None
        ),
    )


def said(decision: GateDecision) -> dict[str, Any]:
    """Return a decision as `compare` returns it."""
    return {
        "outcome": decision.outcome,
        "verdict": decision.verdict,
        "gain": decision.gain,
        "low": decision.low,
        "high": decision.high,
        "vetoes": list(decision.vetoes),
        "reason": decision.reason,
        "champion": decision.champion.version if decision.champion else None,
        "metrics": decision.challenger.metrics,
        "run_id": decision.challenger.run_id,
    }
