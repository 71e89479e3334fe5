"""Whole runs in one process: a training (the steps of `steps.py`, then the registered version), and a retraining (`tasks.py`)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Any, TypeVar

import stamina
from redis.exceptions import RedisError

from dojo.core.connections import connect_redis
from dojo.core.judging.gate.decision import FOLLOWS
from dojo.core.registry.promotion import Change, RoleChanges
from dojo.core.registry.reference_profile import ReferenceProfile
from dojo.core.registry.versions import CHALLENGER, CHAMPION, ModelRegistry, Version
from dojo.core.settings import Settings
from dojo.core.spec.load import SpecError, load_spec
from pipelines import tasks
from pipelines.gate.champion import champion_profile
from pipelines.release import mlflow_run as log
from pipelines.release.notices import RetrainingNotices
from pipelines.training import steps
from pipelines.training.job import Job
from pipelines.training.steps import Fit, Progress, Run, silent
from pipelines.training.workspaces import begin, exclusive

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """A registered version, the alias it got, and how it came about. `seconds`: wall time by step."""

    version: Version
    alias: str
    metrics: dict[str, float]
    threshold: float
    fit: Fit
    seconds: dict[str, float]


def run_training(run: Run, registry: ModelRegistry, as_of: datetime) -> TrainingResult:
    """Collect, validate, build, train, evaluate, log. An existing workspace's files are replaced.

    Args:
        as_of: world time at which the version is trained: what is known then, and nothing later.

    Raises:
        TrainingRefusedError: the data is unfit; CorruptBundleError: the model is; nothing was registered.
        RegistryUnavailableError: MLflow does not answer; the step can be repeated.
    """
    run.workspace.mkdir(parents=True, exist_ok=True)
    seconds: dict[str, float] = {}
    _timed(run, seconds, "collect", lambda: steps.collect_step(run, as_of))
    profile = champion_profile(registry, run.spec.name)
    build_and_judge(run, profile, seconds)
    version, alias = _timed(run, seconds, "log", lambda: log.log_version(run, registry))
    evaluation = steps.read_evaluation(run.workspace)
    return TrainingResult(version, alias, evaluation.metrics, evaluation.threshold, steps.read_fit(run.workspace), seconds)


def record_training(result: TrainingResult, champions: RoleChanges, change: Change) -> None:
    """Write the role that a training by hand gave its version into the audit trail; a first version gets its route, too.

    Raises:
        RegistryUnavailableError, redis.RedisError, ConflictError: repeat it.
    """
    version = result.version
    if result.alias == CHAMPION:
        champions.promote(version.model, version.version, change)
        return
    champions.audit.append(
        entry_id=f"{change.key}:{CHALLENGER}",
        kind="alias",
        model=version.model,
        who=change.who,
        what=f"version {version.version} became challenger",
        why=change.why,
        after={"challenger": version.version},
        world_time=change.world_time,
    )


def build_and_judge(run: Run, profile: ReferenceProfile | None, seconds: dict[str, float]) -> None:
    """Everything between a written manifest and registration: the same for `train` and `reproduce`."""
    _timed(run, seconds, "validate", lambda: steps.validate_step(run, profile))
    _timed(run, seconds, "build_dataset", lambda: steps.build_dataset_step(run))
    _timed(run, seconds, "train", lambda: steps.train_step(run))
    _timed(run, seconds, "evaluate", lambda: steps.evaluate_step(run))


Task = Callable[[Job, Settings, Progress], dict[str, Any]]

BEFORE_THE_GATE = ("collect", "validate", "build_dataset", "train", "evaluate", "compare")

# How often a step is repeated after a fault that may pass: collection three times (D1), the others twice, as in Airflow.
RETRIES = {"collect": 3}
OTHER_RETRIES = 2
FIRST_WAIT_SECONDS = 1.0  # then twice as long each time


def run_retraining(
    job: Job, settings: Settings, progress: Progress = silent, after_train: Callable[[Run], object] | None = None
) -> dict[str, Any]:
    """A retraining without a scheduler: the same tasks in the same order, with the same branches and retries.

    Args:
        after_train: called between train and evaluate; drills spoil the model there.

    Returns:
        What `compare` says, `version`, `alias`, `rollout` and `stage` where it came to that, the challenger's `metrics` on the holdout, and
        `seconds` (wall time) by task. A job that was run before ends as it did then.

    Raises:
        RetrainingRunningError: another one of this model runs. What the tasks raise; then the owner was paged.
    """
    seconds: dict[str, float] = {}
    answer: dict[str, Any] = {"model": job.model, "job": job.key, "as_of": job.as_of.isoformat()}
    step = ""
    with exclusive(job.model, settings.home):
        begin(job, settings.home)
        try:
            for step in BEFORE_THE_GATE:
                answer |= _with_retries(step, job, settings, progress, seconds)
                if step == "train" and after_train is not None:
                    after_train(tasks.run_of(job, settings))
            for step in () if job.dry_run else FOLLOWS[answer["outcome"]]:
                answer |= _with_retries(step, job, settings, progress, seconds)
        except Exception as error:
            _page_owner(job, settings, step, error)
            raise
    return {**answer, "dry_run": job.dry_run, "seconds": seconds}


def _with_retries(step: str, job: Job, settings: Settings, progress: Progress, seconds: dict[str, float]) -> dict[str, Any]:
    task: Task = getattr(tasks, step)
    begun = monotonic()
    attempts = 1 + RETRIES.get(step, OTHER_RETRIES)
    for attempt in stamina.retry_context(
        on=tasks.TRANSIENT, attempts=attempts, timeout=None, wait_initial=FIRST_WAIT_SECONDS, wait_max=60.0
    ):
        with attempt:
            answer = task(job, settings, progress)
    seconds[step] = round(monotonic() - begun, 2)
    return answer


def _page_owner(job: Job, settings: Settings, step: str, error: Exception) -> None:
    """As far as anybody can be told: with Redis away, the error itself says so."""
    records = RetrainingNotices(connect_redis(settings.redis), job)
    with suppress(RedisError, SpecError):
        owner = load_spec(settings.models_dir / f"{job.model}.yaml").owner
        cause = f"{step}: {type(error).__name__}: {error}"
        again = f"dojo retrain {job.model} --as-of {job.as_of:%Y-%m-%dT%H:%M:%S}"
        text = f"{cause}\nAsked for by {job.who}: {job.reason}\nNext: mend the cause, then run it again: {again}"
        records.tell("failed", owner, "page", f"{job.model}: the retraining failed; the champion stays", text)
        records.write("failed", "retraining", f"the retraining failed at {step}", after={"cause": cause})


def _timed(run: Run, seconds: dict[str, float], name: str, step: Callable[[], T]) -> T:
    run.progress(name, 0.0)
    begun = monotonic()
    result = step()
    seconds[name] = round(monotonic() - begun, 2)
    return result
