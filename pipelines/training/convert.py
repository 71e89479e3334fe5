"""LightGBM -> ONNX, with proof that both are the same model.

LightGBM splits on doubles, ONNX on float32. Inputs are float32 on both sides. So a threshold may be
rounded *down* to float32, and `x <= t` still holds for the same x. The converter rounds to the
nearest float32 instead. This may move a threshold past an input. Rows of a fine-grained model then
took wrong branches, and scores were off by 0.002.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from lightgbm import Booster
from onnx import ModelProto
from onnx.helper import make_node
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType

from dojo.core.categories import Categories, category_number
from dojo.core.registry.bundle import OnnxScorer, Parity, check_parity

# Version of the ONNX operator set. Every onnxruntime of the last four years knows ai.onnx 15.
TARGET_OPSET = 15

# The first version whose LabelEncoder takes numbers.
_ML, _ML_OPSET = "ai.onnx.ml", 2

_INPUT, _CODES = "input", "codes"


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


def to_onnx(
    booster: Booster, features: Sequence[str], categories: Categories = MappingProxyType({})
) -> ModelProto:
    """Return the same model as an ONNX graph.

    It has one float32 input of shape (rows, features), and its outputs are as `OnnxScorer` reads
    them. The trees read codes, and the graph takes the numbers of categories. So each reader of the
    file gives unknown categories the same score.

    Args:
        booster: The trees.
        features: Names of the inputs.
        categories: The categories that the trees know.
    """
    model: ModelProto = convert_lightgbm(
        booster,
        name="model",  # the default is random and would change the file's hash
        initial_types=[(_INPUT, FloatTensorType([None, len(features)]))],
        target_opset=TARGET_OPSET,
        zipmap=False,
    )
    if categories:
        _read_numbers(model, features, categories)
    return model


def _read_numbers(model: ModelProto, features: Sequence[str], categories: Categories) -> None:
    """Put nodes before the trees that turn the numbers of categories into codes."""
    (trees,) = (node for node in model.graph.node if _INPUT in node.input)
    trees.input[:] = [_CODES if name == _INPUT else name for name in trees.input]
    places = sorted(features.index(name) for name in categories)
    edges = sorted({0, len(features), *places, *(at + 1 for at in places)})
    nodes, columns = [], []
    for begin, end in pairwise(edges):
        column = f"columns_{begin}"
        nodes.append(make_node("Slice", [_INPUT], [column], axes=[1], starts=[begin], ends=[end]))
        if begin in places:
            known = categories[features[begin]]
            nodes.append(
                make_node(
                    "LabelEncoder",
                    [column],
                    [f"code_{begin}"],
                    domain=_ML,
                    keys_floats=[category_number(name) for name in known],
                    values_floats=[float(code) for code in range(len(known))],
                    default_float=float(len(known)),
                )
            )
            column = f"code_{begin}"
        columns.append(column)
    nodes.append(make_node("Concat", columns, [_CODES], axis=1))
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])
    for used in model.opset_import:
        if used.domain == _ML:
            used.version = max(used.version, _ML_OPSET)


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
