"""A whole training run: the steps of `steps.py` in order, then the registered version."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import TypeVar

from dojo.bundle import PROFILE_FILE
from dojo.registry import CHAMPION, ModelRegistry, Version
from pipelines.retraining import log, steps
from pipelines.retraining.profile import ReferenceProfile
from pipelines.retraining.steps import Fit, Run

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


def build_and_judge(run: Run, profile: ReferenceProfile | None, seconds: dict[str, float]) -> None:
    """Everything between a written manifest and registration: the same for `train` and `reproduce`."""
    _timed(run, seconds, "validate", lambda: steps.validate_step(run, profile))
    _timed(run, seconds, "build_dataset", lambda: steps.build_dataset_step(run))
    _timed(run, seconds, "train", lambda: steps.train_step(run))
    _timed(run, seconds, "evaluate", lambda: steps.evaluate_step(run))


def champion_profile(registry: ModelRegistry, model: str) -> ReferenceProfile | None:
    """The reference profile that the champion was registered with, None without a champion."""
    champion = registry.by_alias(model, CHAMPION)
    if champion is None:
        return None
    with TemporaryDirectory() as directory:
        return ReferenceProfile.read(registry.download(champion, Path(directory)) / PROFILE_FILE)


def _timed(run: Run, seconds: dict[str, float], name: str, step: Callable[[], T]) -> T:
    run.progress(name, 0.0)
    begun = monotonic()
    result = step()
    seconds[name] = round(monotonic() - begun, 2)
    return result
