"""Smaller versions of a champion: pruned to its first trees, or distilled into a new ensemble.

    pruned     the champion's first trees, as few as the spec's loss on the validation rows allows
    distilled  a small ensemble that learned what the champion's trees add up to, on training rows

Neither learns from labels, and neither knows more categories than its champion. The champion's
trees lie in the workspace (TEACHER_FILE) and in the version's record, so a rebuild gives the same.
"""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from dojo.core.categories import with_codes
from dojo.core.registry.bundle import CorruptBundleError, read_trees, verify_bundle
from dojo.core.registry.versions import CHAMPION, ModelRegistry
from dojo.core.spec.schema import ModelSpec, Smaller
from dojo.core.tasks.specs import task_of
from feature_repo import catalog
from pipelines.training.dataset.split import Split
from pipelines.training.errors import TrainingRefusedError
from pipelines.training.job import SmallerKind

if TYPE_CHECKING:
    from lightgbm import Booster

    from pipelines.training.train import Trained

TEACHER_FILE = "teacher.json"

# Numbers of trees that pruning tries, spread evenly on a logarithmic scale. Neighbours differ by
# a fifth.
TRIED = 25


class Teacher(msgspec.Struct, frozen=True, kw_only=True):
    """What a smaller version is made from.

    Attributes:
        kind: How it is made.
        version: The champion.
        features: The champion's inputs, which the smaller version has too.
        categories: The categories that the champion knows.
        trees: The champion's trees as LightGBM's text.
    """

    kind: SmallerKind
    version: str
    features: tuple[str, ...]
    categories: dict[str, tuple[str, ...]]
    trees: str

    @property
    def words(self) -> str:
        return f"{self.kind} from version {self.version}"


def call_teacher(
    kind: SmallerKind, spec: ModelSpec, registry: ModelRegistry, workspace: Path
) -> Teacher:
    """Write the champion's trees into the workspace, and return them.

    Raises:
        TrainingRefusedError: The spec has no `training.smaller`, or there is no champion with the
            spec's features and its trees.
        RegistryUnavailableError: MLflow does not answer.
    """
    if spec.training.smaller is None:
        raise TrainingRefusedError(
            f"{spec.name}: expected training.smaller in the spec, which says how much a smaller"
            " version may lose, found none"
        )
    champion = registry.by_alias(spec.name, CHAMPION)
    if champion is None:
        raise TrainingRefusedError(
            f"{spec.name}: expected a champion to make smaller, found none: dojo train {spec.name}"
        )
    with TemporaryDirectory() as directory:
        downloaded = registry.download(champion, Path(directory))
        bundle, _ = verify_bundle(downloaded, registry.sealed_sha256(champion))
        try:
            trees = read_trees(downloaded, bundle)
        except CorruptBundleError as error:
            raise TrainingRefusedError(
                f"{spec.name}@{champion.version}: its trees cannot be read: {error}"
            ) from error
    if bundle.features != catalog.SERVICES[spec.feature_service].features:
        raise TrainingRefusedError(
            f"{spec.name}@{champion.version}: it has other features than {spec.feature_service}:"
            f" dojo retrain {spec.name}"
        )
    teacher = Teacher(
        kind=kind,
        version=champion.version,
        features=bundle.features,
        categories=bundle.categories,
        trees=trees,
    )
    (workspace / TEACHER_FILE).write_bytes(msgspec.json.encode(teacher))
    return teacher


def read_teacher(workspace: Path) -> Teacher | None:
    """Return what the workspace's version is made from. None for a version of its own."""
    file = workspace / TEACHER_FILE
    return msgspec.json.decode(file.read_bytes(), type=Teacher) if file.exists() else None


def fit_smaller(teacher: Teacher, split: Split, spec: ModelSpec) -> Trained:
    """Return the smaller model.

    Raises:
        TrainingRefusedError: The spec has no `training.smaller`.
    """
    from lightgbm import Booster  # takes a second, and most importers of this module fit nothing

    from pipelines.training.convert import with_float32_thresholds
    from pipelines.training.train import Trained

    whole = Trained(
        Booster(model_str=teacher.trees),
        teacher.trees.count("\nTree="),
        teacher.features,
        teacher.categories,
    )
    make = _pruned if teacher.kind == "pruned" else _distilled
    booster, trees = make(whole, split, spec)
    return Trained(
        with_float32_thresholds(booster, trees), trees, teacher.features, teacher.categories
    )


def _pruned(whole: Trained, split: Split, spec: ModelSpec) -> tuple[Booster, int]:
    """Return the champion, and the fewest trees with which its loss is small enough."""
    from pipelines.training.train import THREADS

    task, primary = task_of(spec), spec.gate.primary_metric
    inputs = with_codes(split.validation.inputs, whole.features, whole.categories)

    def measured(trees: int) -> float:
        scores = whole.booster.predict(inputs, num_iteration=trees, num_threads=THREADS)
        answered = split.validation.answered(np.asarray(scores))
        decision = task.decide(answered)
        flagged = task.flagged(answered.scores, decision)
        return task.evaluate(answered.scored(answered.scores, flagged, decision))[primary]

    sign = -1.0 if task.metrics[primary].lower_is_better else 1.0
    best = measured(whole.trees)
    tried = np.unique(np.geomspace(1, whole.trees, TRIED).round().astype(int))
    allowed = _section(spec).pruning_loss * abs(best)
    return whole.booster, next(
        int(trees) for trees in tried if sign * (best - measured(int(trees))) <= allowed
    )


def _distilled(whole: Trained, split: Split, spec: ModelSpec) -> tuple[Booster, int]:
    """Return a new ensemble that learned the champion's sums. Its score has the same meaning."""
    from lightgbm import Booster, LGBMRegressor

    from pipelines.training.train import DETERMINISTIC, THREADS

    section = _section(spec)
    inputs = with_codes(split.train.inputs, whole.features, whole.categories)
    sums = whole.booster.predict(inputs, raw_score=True, num_threads=THREADS)
    parameters: dict[str, Any] = {
        "n_estimators": section.trees,
        "num_leaves": section.leaves,
        "learning_rate": section.learning_rate,
        "random_state": spec.training.seed,
        **DETERMINISTIC,
    }
    student = LGBMRegressor(**parameters).fit(inputs, np.asarray(sums))
    text = student.booster_.model_to_string()
    meaning = whole.booster.model_to_string()
    for line in (r"^objective=.*$", r"^\[objective: .*\]$"):
        found = re.search(line, meaning, flags=re.MULTILINE)
        assert found is not None, "LightGBM writes the objective of every model"
        text = re.sub(line, found[0], text, flags=re.MULTILINE)
    return Booster(model_str=text), int(student.booster_.num_trees())


def _section(spec: ModelSpec) -> Smaller:
    if spec.training.smaller is None:
        raise TrainingRefusedError(f"{spec.name}: expected training.smaller in the spec")
    return spec.training.smaller
