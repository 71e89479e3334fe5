"""The tasks after the gate: register, start_rollout, keep_champion and alert_regression.

tasks.py has the rules for all tasks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from dojo.core.connections import connect_redis
from dojo.core.judging.gate.decision import GATE_PATH, GateDecision
from dojo.core.registry.promotion import (
    Change,
    RoleChanges,
    TrafficElsewhereError,
    require_champions_traffic,
)
from dojo.core.registry.tags import VersionTags
from dojo.core.registry.versions import CHALLENGER, CHAMPION, ModelRegistry, Version
from dojo.core.settings import Settings
from dojo.core.spec.schema import ModelSpec
from dojo.core.state.rollouts import NoRolloutError, RolloutActiveError, Rollouts
from dojo.core.state.routes import RouteTable
from dojo.core.tasks.specs import load_spec
from pipelines.release import mlflow_run as log
from pipelines.release.job_runs import FINISHED, find_run, logged_decision
from pipelines.release.notices import RetrainingNotices
from pipelines.release.tracking import tracking_client, tracking_errors
from pipelines.training import workspaces
from pipelines.training.errors import RolloutRefusedError, WorkspaceGoneError
from pipelines.training.job import Job
from pipelines.training.registry_check import require_registry
from pipelines.training.schedule import ScheduleStore
from pipelines.training.steps import Progress, silent

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun

# Outcome of a job without a gate.
UNGATED = "ungated"


def register(job: Job, settings: Settings, progress: Progress = silent) -> dict[str, Any]:
    """Register the job's version.

    A model's first version becomes the champion at once, because there is no other version to
    serve. Where the spec requires approval it waits until another person promotes it.

    It is the first one when neither the registry nor the platform's own record names a champion.

    Returns:
        version and alias. The alias is `champion` for a first version and `challenger` for a later
        one without a gate. Otherwise it is None, and the rollout sets the alias. `waits` is there
        for a first version that waits for approval, as challenger.

    Raises:
        RolloutRefusedError: The gate did not let the version pass. Or it was trained as the first
            version and no longer is the first.
        RegistryChangedError: It would be the first version, and another version serves.
    """
    registry, records = (
        ModelRegistry.of(settings),
        RetrainingNotices(connect_redis(settings.redis), job),
    )
    progress("register", 0.0)
    logged, outcome = _outcome(registry, job)
    if job.dry_run or outcome not in ("promote", "first", UNGATED):
        why = "it was a dry run" if job.dry_run else f"the gate's outcome was {outcome}"
        raise RolloutRefusedError(f"{job.model}: nothing is registered, because {why}")
    if outcome == "promote":
        return {
            "version": log.register_run(registry, job.model, logged.info.run_id).version,
            "alias": None,
        }
    record = require_registry(job, registry, records.redis)
    version = log.register_run(registry, job.model, logged.info.run_id)
    if outcome == UNGATED:
        ScheduleStore(records.redis).finish(job.model, records.world_now())
    alias, champion = CHAMPION, registry.by_alias(job.model, CHAMPION)
    stands = champion.version if champion is not None else record.champion
    spec = load_spec(settings.models_dir / f"{job.model}.yaml")
    is_first = stands in ("", version.version)
    waits: dict[str, str] = {}
    if is_first and spec.rollout.approval == "required":
        if not stands:  # else it was approved since an earlier attempt
            alias, waits = CHALLENGER, {"waits": "approval"}
            _wait_for_approval(registry, records, spec, version, job.who)
    elif is_first:
        champions = RoleChanges(registry, RouteTable(records.redis), records.audit)
        why = f"{job.reason}: the model's first version"
        champions.promote(
            job.model,
            version.version,
            Change(f"{job.occasion}:first", job.who, why, records.world_now()),
        )
    elif outcome == UNGATED:
        alias = CHALLENGER
        _become_challenger(registry, records, version)
    elif not version.tags.anchors:  # with anchors it was champion before
        raise RolloutRefusedError(
            f"{job.model}: version {version.version} was trained as the first one, but version"
            f" {stands} is champion by now: dojo retrain {job.model}"
        )
    workspaces.end(job, settings.home)
    return {"version": version.version, "alias": alias, **waits}


def start_rollout(job: Job, settings: Settings, progress: Progress = silent) -> dict[str, Any]:
    """Begin the registered version's rollout and make it the challenger.

    A version gets one rollout from its job.

    Returns:
        version, rollout (its id) and stage.

    Raises:
        RolloutRefusedError: Another version is being rolled out. Or the champion has changed since
            the comparison, or does not have all the traffic.
    """
    registry, records = (
        ModelRegistry.of(settings),
        RetrainingNotices(connect_redis(settings.redis), job),
    )
    progress("start_rollout", 0.0)
    logged, decision = decided(registry, job)
    version = _registered(registry, job, logged)
    rollouts = Rollouts(records.redis)
    if (given := version.tags.rollout) is not None:
        current = rollouts.get(job.model)
        stage = str(current.stage) if current is not None and current.id == given else "ended"
        workspaces.end(job, settings.home)
        return {"version": version.version, "rollout": given, "stage": stage}
    spec = load_spec(settings.models_dir / f"{job.model}.yaml")
    champion = decision.champion.version if decision.champion else ""
    now = registry.by_alias(job.model, CHAMPION)
    current = rollouts.get(job.model)
    begun = current is not None and current.version == version.version  # by an earlier attempt
    if not begun and (now is None or now.version != champion):
        raise RolloutRefusedError(
            f"{job.model}: version {version.version} was compared with version {champion}, and the"
            f" champion is {f'version {now.version}' if now else 'nobody'} by now: dojo retrain"
            f" {job.model}"
        )
    try:
        # When it has begun, the route is its own. When another rollout is active, `start` refuses
        # and names it.
        if not begun and (current is None or not current.active):
            require_champions_traffic(RouteTable(records.redis), job.model, champion)
        why = f"{job.reason}: {decision.reason}"
        rollout = rollouts.start(
            spec,
            version.version,
            champion,
            records.world_now(),
            job.who,
            why,
            baseline=decision.baseline,
        )
    except (RolloutActiveError, NoRolloutError, TrafficElsewhereError) as error:
        later = f"dojo rollout start {job.model} {version.version} --why ..."
        raise RolloutRefusedError(
            f"{error}. Afterwards: {later}, or run this task again"
        ) from error
    if rollout.active:  # an earlier attempt may have begun it long ago
        _become_challenger(registry, records, version)
    registry.tag(job.model, version.version, VersionTags(rollout=rollout.id))
    workspaces.end(job, settings.home)
    return {"version": version.version, "rollout": rollout.id, "stage": str(rollout.stage)}


def keep_champion(job: Job, settings: Settings, progress: Progress = silent) -> dict[str, Any]:
    """Record and tell the owner that the challenger did not win. -> champion, verdict."""
    return _lost(job, settings, progress, "keep_champion", "info", "the champion stays")


def alert_regression(job: Job, settings: Settings, progress: Progress = silent) -> dict[str, Any]:
    """Page the owner, because the retrained model is worse. -> champion, verdict."""
    return _lost(
        job,
        settings,
        progress,
        "alert_regression",
        "page",
        "the retrained model is worse; the champion stays",
    )


def _lost(
    job: Job,
    settings: Settings,
    progress: Progress,
    step: str,
    urgency: Literal["info", "page"],
    words: str,
) -> dict[str, Any]:
    registry, records = (
        ModelRegistry.of(settings),
        RetrainingNotices(connect_redis(settings.redis), job),
    )
    progress(step, 0.0)
    logged, decision = decided(registry, job)
    champion = decision.champion.version if decision.champion else None
    words = words if champion else "the first version was kept out"
    spec = load_spec(settings.models_dir / f"{job.model}.yaml")
    report = (
        f"{registry.url}/#/experiments/{logged.info.experiment_id}"
        f"/runs/{logged.info.run_id}/artifacts/{GATE_PATH}"
    )
    text = (
        f"{decision.reason}\nAsked for by {job.who}: {job.reason}\nReport: dojo gate show"
        f" {job.model}, or {report}"
    )
    records.write(
        "ended", "retraining", words, after={"champion": champion, "verdict": decision.verdict}
    )
    records.tell(step, spec.owner, urgency, f"{job.model}: {words}", text)
    workspaces.end(job, settings.home)
    return {"champion": champion, "verdict": decision.verdict}


def _outcome(registry: ModelRegistry, job: Job) -> tuple[MlflowRun, str]:
    """Return the job's finished MLflow run and the gate's outcome.

    A run without a gate is marked as finished here.
    """
    if job.gate:
        logged, decision = decided(registry, job)
        return logged, decision.outcome
    found = find_run(registry, job.model, job.key)
    if found is None:
        raise WorkspaceGoneError(
            f"{job.model}: job {job.key} has no MLflow run: run it again from evaluate on"
        )
    with tracking_errors(job.model, f"run {found.info.run_id}"):
        tracking_client(registry).set_terminated(found.info.run_id, FINISHED)
    return found, UNGATED


def _wait_for_approval(
    registry: ModelRegistry,
    records: RetrainingNotices,
    spec: ModelSpec,
    version: Version,
    proposer: str,
) -> None:
    """Keep a model's first version without traffic, and tell the owner."""
    _become_challenger(registry, records, version)
    name = f"{spec.name}@{version.version}"
    text = (
        f"It is the model's first version, proposed by {proposer}, and the fallback answers. Look"
        f" at it: dojo models show {name}. Another person approves: dojo models promote {name}"
        " --why ... --who ..."
    )
    title = f"{spec.name}: version {version.version} waits for approval"
    records.tell("approval", spec.owner, "warning", title, text)


def _become_challenger(
    registry: ModelRegistry, records: RetrainingNotices, version: Version
) -> None:
    before = registry.by_alias(version.model, CHALLENGER)
    registry.set_alias(version.model, CHALLENGER, version.version)
    records.write(
        "challenger", "alias", f"version {version.version} became challenger",
        before={"challenger": before.version if before else None},
        after={"challenger": version.version},
    )  # fmt: skip


def decided(registry: ModelRegistry, job: Job) -> tuple[MlflowRun, GateDecision]:
    """Return the job's MLflow run and the decision about it.

    Raises:
        WorkspaceGoneError: There is no decision yet.
    """
    logged = find_run(registry, job.model, job.key)
    if logged is None or logged.info.status != FINISHED:
        raise WorkspaceGoneError(
            f"{job.model}: the gate has not decided about job {job.key}: run it again from"
            " compare on"
        )
    return logged, logged_decision(registry, job.model, logged.info.run_id)


def _registered(registry: ModelRegistry, job: Job, logged: MlflowRun) -> Version:
    found = next(
        (
            version
            for version in registry.versions(job.model)
            if version.run_id == logged.info.run_id
        ),
        None,
    )
    if found is None:
        raise WorkspaceGoneError(
            f"{job.model}: job {job.key} has no registered version: run it again from register on"
        )
    return found
