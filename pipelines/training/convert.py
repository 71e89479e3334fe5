"""LightGBM -> ONNX, with proof that both are the same model.

LightGBM splits on doubles, ONNX on float32. Inputs are float32 on both sides, so a threshold may be rounded *down* to float32
without changing any decision (x <= t holds for the same x); the converter's rounding to the nearest may move it past an input,
which sent rows of a fine-grained model down wrong branches (scores off by 0.002).
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

# The ONNX operator sets that the model may use: ai.onnx 15 is old enough for every onnxruntime of the last four years.
TARGET_OPSET = 15


def with_float32_thresholds(booster: Booster, trees: int) -> Booster:
    """The first `trees` trees of `booster`, every threshold rounded down to float32: the same scores for float32 inputs."""
    text = booster.model_to_string(num_iteration=trees)
    text = re.sub(r"^tree_sizes=.*\n", "", text, flags=re.MULTILINE)  # byte counts, which rounding changes; optional
    return Booster(model_str=re.sub(r"^threshold=(.*)$", _round_line, text, flags=re.MULTILINE))


def _round_line(line: re.Match[str]) -> str:
    rounded = round_down(np.array(line[1].split(), dtype=np.float64))
    return "threshold=" + " ".join(repr(float(value)) for value in rounded)


def round_down(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """The largest float32 that is not above each value."""
    nearest = values.astype(np.float32)
    return np.where(nearest.astype(np.float64) > values, np.nextafter(nearest, np.float32(-np.inf)), nearest)


def to_onnx(booster: Booster, width: int) -> ModelProto:
    """The same model as an ONNX graph: one float32 input (rows, width), outputs as `OnnxScorer` reads them."""
    model: ModelProto = convert_lightgbm(
        booster,
        name="model",  # the default is random and would change the file's hash
        initial_types=[("input", FloatTensorType([None, width]))],
        target_opset=TARGET_OPSET,
        zipmap=False,
    )
    return model


def prove_parity(scores: npt.NDArray[np.float64], model_file: Path, rows: npt.NDArray[np.float32]) -> float:
    """The largest difference between training's `scores` of real `rows` and ONNX Runtime's.

    Raises:
        CorruptBundleError: it exceeds dojo.core.registry.bundle.PARITY_TOLERANCE; such a model must not be registered.
    """
    return check_parity(OnnxScorer(model_file), Parity(inputs=rows.tolist(), scores=scores.tolist()), rows.shape[1])
