"""Step 4: fit LightGBM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from lightgbm import Booster, LGBMClassifier, early_stopping

from dojo.core.spec.load import Estimator
from pipelines.training.convert import with_float32_thresholds
from pipelines.training.dataset.split import Part

# Same data, seed and code must give the same bytes: LightGBM promises that only for a fixed thread count and histogram layout.
# One thread: OpenMP's threads spin while they wait for each other, thousands of times a tree. On two cores that other processes were
# using too, the same fit took 146 s (21 s of CPU) with two threads and 20 s (1.2 s of CPU) with one.
THREADS = 1
DETERMINISTIC: dict[str, Any] = {"deterministic": True, "force_row_wise": True, "n_jobs": THREADS, "verbose": -1}


@dataclass(frozen=True, slots=True)
class Trained:
    """A fitted model, as it will be served; `trees` is how many it has."""

    booster: Booster
    trees: int

    def score(self, inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Probability of fraud. inputs: float32 (rows, features) -> (rows,)."""
        return np.asarray(self.booster.predict(inputs, num_threads=THREADS))

    def gains(self) -> list[float]:
        """Loss reduction over all splits, per feature."""
        return self.booster.feature_importance("gain").tolist()  # type: ignore[no-any-return]


def fit(train: Part, validation: Part | None, estimator: Estimator, seed: int) -> Trained:
    """Fit on `train`.

    Args:
        validation: a later part whose average precision decides how many trees are used (at most the spec's n_estimators);
            None uses them all, for windows too short to spare a part.
    """
    parameters: dict[str, Any] = {**estimator.parameters, **DETERMINISTIC, "random_state": seed, "metric": "average_precision"}
    classifier = LGBMClassifier(**parameters)
    if validation is None:
        classifier.fit(train.inputs, train.labels)
    else:
        classifier.fit(
            train.inputs,
            train.labels,
            eval_X=validation.inputs,
            eval_y=validation.labels,
            callbacks=[early_stopping(estimator.early_stopping_rounds, verbose=False)],
        )
    trees = int(classifier.best_iteration_ or classifier.n_estimators_)
    return Trained(with_float32_thresholds(classifier.booster_, trees), trees)
