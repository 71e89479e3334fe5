"""Step 4: fits LightGBM with the objective of the model's task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from lightgbm import Booster, LGBMModel, early_stopping

from dojo.core.spec.schema import ModelSpec
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
    """A fitted model, as it will be served. `trees` is its number of trees."""

    booster: Booster
    trees: int

    def score(self, inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Return the scores of float32 inputs: (rows, features) -> (rows,)."""
        return np.asarray(self.booster.predict(inputs, num_threads=THREADS))

    def gains(self) -> list[float]:
        """Return the loss reduction over all splits, per feature."""
        return self.booster.feature_importance("gain").tolist()  # type: ignore[no-any-return]


def fit(train: Part, validation: Part | None, spec: ModelSpec) -> Trained:
    """Fit on `train`.

    Args:
        train: The part that teaches.
        validation: A later part. Its metric (`Task.objective`) decides the number of trees, at most
            the spec's n_estimators. None uses all trees, for windows too short to spare a part.
        spec: The model's spec.
    """
    estimator = spec.training.estimator
    model = LGBMModel(
        **{
            **estimator.parameters,
            **DETERMINISTIC,
            "random_state": spec.training.seed,
            **task_of(spec).objective,
        }
    )
    inputs, labels, lists = _by_list(train, spec)
    if validation is None:
        model.fit(inputs, labels, sample_weight=train.weights, group=lists)
    else:
        eval_inputs, eval_labels, eval_lists = _by_list(validation, spec)
        model.fit(
            inputs,
            labels,
            sample_weight=train.weights,
            group=lists,
            eval_X=eval_inputs,
            eval_y=eval_labels,
            eval_sample_weight=None if validation.weights is None else [validation.weights],
            eval_group=None if eval_lists is None else [eval_lists],
            callbacks=[early_stopping(estimator.early_stopping_rounds, verbose=False)],
        )
    trees = int(model.best_iteration_ or model.n_estimators_)
    return Trained(with_float32_thresholds(model.booster_, trees), trees)


def _by_list(
    part: Part, spec: ModelSpec
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64], npt.NDArray[np.int64] | None]:
    """Return inputs, labels and list sizes, in the order of the lists.

    Without lists in the task, the order stays and the sizes are None.
    """
    lists = task_of(spec).lists(part.entities, part.times)
    if lists is None:
        return part.inputs, part.labels, None
    order = np.argsort(lists, kind="stable")
    return part.inputs[order], part.labels[order], np.unique(lists, return_counts=True)[1]
