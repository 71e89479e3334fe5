"""Step 4: fit LightGBM and convert it to ONNX, with proof that both are the same model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from lightgbm import LGBMClassifier, early_stopping
from onnx import ModelProto
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType

from dojo.bundle import OnnxScorer, Parity, check_parity
from dojo.specs import Estimator
from pipelines.retraining.split import Part

# Same data, seed and code must give the same bytes: LightGBM promises that only for a fixed thread count and histogram layout.
# One thread: OpenMP's threads spin while they wait for each other, thousands of times a tree. With the platform running on the same
# two cores, two threads took 146 s for a fit that one does in 1.3 s of CPU time.
DETERMINISTIC: dict[str, Any] = {"deterministic": True, "force_row_wise": True, "n_jobs": 1, "verbose": -1}

# The ONNX operator sets that the model may use: ai.onnx 15 is old enough for every onnxruntime of the last four years.
TARGET_OPSET = 15


@dataclass(frozen=True, slots=True)
class Trained:
    """A fitted classifier; `trees` is how many of them are used."""

    classifier: LGBMClassifier
    trees: int

    def score(self, inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Probability of fraud. inputs: float32 (rows, features) -> (rows,)."""
        probabilities = np.asarray(self.classifier.predict_proba(inputs))
        return probabilities[:, 1]


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
        return Trained(classifier, int(classifier.n_estimators))
    classifier.fit(
        train.inputs,
        train.labels,
        eval_X=validation.inputs,
        eval_y=validation.labels,
        callbacks=[early_stopping(estimator.early_stopping_rounds, verbose=False)],
    )
    return Trained(classifier, int(classifier.best_iteration_ or classifier.n_estimators))


def to_onnx(trained: Trained, width: int) -> ModelProto:
    """The same model as an ONNX graph: one float32 input (rows, width), outputs `label` and `probabilities` (rows, 2)."""
    model: ModelProto = convert_lightgbm(
        trained.classifier,
        name="fraud",  # the default is random and would change the file's hash
        initial_types=[("input", FloatTensorType([None, width]))],
        target_opset=TARGET_OPSET,
        zipmap=False,
    )
    return model


def prove_parity(trained: Trained, model_file: Path, rows: npt.NDArray[np.float32]) -> float:
    """The largest difference between LightGBM's and ONNX Runtime's scores on real rows.

    Raises:
        CorruptBundleError: it exceeds dojo.bundle.PARITY_TOLERANCE; such a model must not be registered.
    """
    parity = Parity(inputs=rows.tolist(), scores=trained.score(rows).tolist())
    return check_parity(OnnxScorer(model_file), parity, rows.shape[1])
