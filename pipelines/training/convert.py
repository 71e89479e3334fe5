"""LightGBM -> ONNX, with proof that both are the same model.

LightGBM splits on doubles, ONNX on float32. Inputs are float32 on both sides. So a threshold may be
rounded *down* to float32, and `x <= t` still holds for the same x. The converter rounds to the
nearest float32 instead. This may move a threshold past an input. Rows of a fine-grained model then
took wrong branches, and scores were off by 0.002.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
from lightgbm import Booster
from onnx import ModelProto
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType

from dojo.core.registry.bundle import OnnxScorer, Parity, check_parity

# Version of the ONNX operator set. Every onnxruntime of the last four years knows ai.onnx 15.
TARGET_OPSET = 15


def with_float32_thresholds(booster: Booster, trees: int) -> Booster:
    """Return the first `trees` trees of `booster`, with every threshold rounded down to float32.

    Scores of float32 inputs stay the same.
    """
    text = booster.model_to_string(num_iteration=trees)
    text = re.sub(r"^tree_sizes=.*\n", "", text, flags=re.MULTILINE)  # optional sizes, now wrong
    return Booster(model_str=re.sub(r"^threshold=(.*)$", _round_line, text, flags=re.MULTILINE))


def _round_line(line: re.Match[str]) -> str:
    rounded = round_down(np.array(line[1].split(), dtype=np.float64))
    return "threshold=" + " ".join(repr(float(value)) for value in rounded)


def round_down(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Return the largest float32 that is not above each value."""
    nearest = values.astype(np.float32)
    return np.where(
        nearest.astype(np.float64) > values, np.nextafter(nearest, np.float32(-np.inf)), nearest
    )


def to_onnx(booster: Booster, width: int) -> ModelProto:
    """Return the same model as an ONNX graph.

    It has one float32 input of shape (rows, width), and its outputs are as `OnnxScorer` reads them.
    """
    model: ModelProto = convert_lightgbm(
        booster,
        name="model",  # the default is random and would change the file's hash
        initial_types=[("input", FloatTensorType([None, width]))],
        target_opset=TARGET_OPSET,
        zipmap=False,
    )
    return model


def prove_parity(
    scores: npt.NDArray[np.float64], model_file: Path, rows: npt.NDArray[np.float32]
) -> float:
    """Return the largest difference between training's `scores` of real `rows` and ONNX Runtime's.

    Raises:
        CorruptBundleError: It exceeds dojo.core.registry.bundle.PARITY_TOLERANCE. Such a model must
            not be registered.
    """
    return check_parity(
        OnnxScorer(model_file), Parity(inputs=rows.tolist(), scores=scores.tolist()), rows.shape[1]
    )
