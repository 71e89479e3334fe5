"""Step 4: fits LightGBM with the objective of the model's task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from lightgbm import Booster, LGBMModel, early_stopping

from dojo.core.categories import Categories, with_codes
from dojo.core.spec.schema import ModelSpec
from dojo.core.tasks.records import Codes
from dojo.core.tasks.specs import task_of
from pipelines.training.convert import with_float32_thresholds
from pipelines.training.dataset.split import Part

# The same data, seed and code must give the same bytes. LightGBM promises it only for a fixed
# thread count and histogram layout. One thread is best here. OpenMP's threads spin while they wait
# for each other, thousands of times per tree. Measured on two cores shared with other processes: a
# fit took 146 s (21 s of CPU) with two threads. With one thread it took 20 s (1.2 s of CPU).
THREADS = 1
DETERMINISTIC: dict[str, Any] = {
    "deterministic": True,
    "force_row_wise": True,
    "n_jobs": THREADS,
    "verbose": -1,
}


@dataclass(frozen=True, slots=True)
class Trained:
    """A fitted model, as it will be served.

    Attributes:
        booster: Its trees, which read codes of categories.
        trees: Number of trees.
        features: Names of the inputs.
        categories: The categories that it knows.
    """

    booster: Booster
    trees: int
    features: Sequence[str] = ()
    categories: Categories = field(default_factory=dict)

    def score(self, inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Return the scores of float32 inputs as served: (rows, features) -> (rows,)."""
        rows = with_codes(inputs, self.features, self.categories)
        return np.asarray(self.booster.predict(rows, num_threads=THREADS))

    def gains(self) -> list[float]:
        """Return the loss reduction over all splits, per feature."""
        return self.booster.feature_importance("gain").tolist()  # type: ignore[no-any-return]


def fit(
    train: Part,
    validation: Part | None,
    spec: ModelSpec,
    features: Sequence[str] = (),
    categories: Categories = MappingProxyType({}),
) -> Trained:
    """Fit on `train`.

    Args:
        train: The part that teaches.
        validation: A later part. Its metric (`Task.objective`) decides the number of trees, at most
            the spec's n_estimators. None uses all trees, for windows too short to spare a part.
        spec: The model's spec.
        features: Names of the inputs. Needed where some are categories.
        categories: The categories to know.
    """
    estimator = spec.training.estimator
    parts = [
        replace(part, inputs=with_codes(part.inputs, features, categories))
        for part in (train, validation)
        if part is not None
    ]
    given = [_by_list(part, spec) for part in parts]
    (learned, *held), parameters = _with_targets(given, spec)
    model = LGBMModel(
        **{
            **estimator.parameters,
            **DETERMINISTIC,
            "random_state": spec.training.seed,
            **task_of(spec).objective,
            **parameters,
        }
    )
    if not held:
        model.fit(
            learned.inputs, learned.labels, sample_weight=learned.weights, group=learned.sizes
        )
    else:
        (judge,) = held
        model.fit(
            learned.inputs,
            learned.labels,
            sample_weight=learned.weights,
            group=learned.sizes,
            eval_X=judge.inputs,
            eval_y=judge.labels,
            eval_sample_weight=None if judge.weights is None else [judge.weights],
            eval_group=None if judge.sizes is None else [judge.sizes],
            callbacks=[early_stopping(estimator.early_stopping_rounds, verbose=False)],
        )
    trees = int(model.best_iteration_ or model.n_estimators_)
    return Trained(with_float32_thresholds(model.booster_, trees), trees, features, categories)


@dataclass(frozen=True, slots=True)
class _Rows:
    """A part's rows in the order of their lists, as LightGBM wants them.

    Attributes:
        inputs: float32, shape (rows, features).
        labels: Shape (rows,).
        weights: As in `Answered`.
        lists: List of each row. None without lists in the task.
        sizes: Number of rows of each list. None without lists in the task.
    """

    inputs: npt.NDArray[np.float32]
    labels: npt.NDArray[np.float64]
    weights: npt.NDArray[np.float64] | None
    lists: Codes | None
    sizes: npt.NDArray[np.int64] | None


def _by_list(part: Part, spec: ModelSpec) -> _Rows:
    lists = task_of(spec).lists(part.entities, part.times)
    if lists is None:
        return _Rows(part.inputs, part.labels, part.weights, None, None)
    order = np.argsort(lists, kind="stable")
    return _Rows(
        part.inputs[order],
        part.labels[order],
        None if part.weights is None else part.weights[order],
        lists[order],
        np.unique(lists, return_counts=True)[1],
    )


def _with_targets(parts: Sequence[_Rows], spec: ModelSpec) -> tuple[list[_Rows], Mapping[str, Any]]:
    """Return the parts with the task's targets for labels, and its parameters for both parts."""
    weighted = any(part.weights is not None for part in parts)
    each = [np.ones(len(p.labels)) if p.weights is None else p.weights for p in parts]
    lists: list[Codes] = []
    for part in parts:
        if part.lists is not None:
            lists.append(part.lists + (lists[-1].max() + 1 if lists else 0))
    targets = task_of(spec).targets(
        np.concatenate([part.labels for part in parts]),
        np.concatenate(each) if weighted else None,
        np.concatenate(lists) if lists else None,
    )
    ends = np.cumsum([len(part.labels) for part in parts])[:-1]
    labels = np.split(targets.labels, ends)
    weights = [None for _ in parts] if targets.weights is None else np.split(targets.weights, ends)
    return [
        replace(part, labels=of, weights=by)
        for part, of, by in zip(parts, labels, weights, strict=True)
    ], targets.parameters
