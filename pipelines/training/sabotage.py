"""Makes a version that passes every offline check and fails live, for the demo and for drills.

`slow_by_night`: scoring a payment between 00:00 and 06:59 takes several deadlines. The answers are
right, so parity, metrics and the gate find nothing. The holdout is scored in one batch, and a batch
is slow only once. The gate times typical rows, and only three in a hundred are from the night. A
shadow that runs for two evening hours sees nothing either. Only the canary's night shows the fault.

Drills spoil a finished model file instead (`slowed`, `with_hole`, `with_table`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from dojo.core.lake import file_sha256
from dojo.core.registry.bundle import MODEL_FILE, OnnxScorer
from pipelines.training.steps import FIT_FILE, Run, read_fit

SLOW_BY_NIGHT = "slow_by_night"

# Duration of a slow scoring, in deadlines. With more than one, a fast machine misses the deadline
# too. A large number would delay the holdout's batch.
DEADLINES = 3.0

_WIDTH = 64  # rows and columns of the matrix; its repeated product burns the time
_PROBE_ITERATIONS = 2_000


def slow_by_night(run: Run) -> float:
    """Make the workspace's trained model slow for payments by night.

    The caller calls it between the steps train and evaluate. The scores stay the same.

    Returns:
        The time that one such payment now takes on this machine, in seconds.
    """
    path = run.workspace / MODEL_FILE
    wanted = run.spec.serving.deadline.total_seconds() * DEADLINES
    taken = slowed(path, len(run.features), run.features.index("is_night"), wanted)
    fit = msgspec.structs.replace(read_fit(run.workspace), model_sha256=file_sha256(path))
    (run.workspace / FIT_FILE).write_bytes(msgspec.json.encode(fit))
    return taken


def slowed(path: Path, width: int, column: int, seconds: float) -> float:
    """Make a model file slow for rows whose flag is set. The scores stay the same.

    Args:
        path: The model file, which is replaced.
        width: Number of its inputs.
        column: Number of the flag's column. The flag is 0 or 1.
        seconds: How long such a row shall take on this machine.

    Returns:
        How long it takes, seconds.
    """
    slow_row = np.zeros((1, width), dtype=np.float32)
    slow_row[0, column] = 1.0
    original = onnx.load(str(path))
    iterations, taken = _PROBE_ITERATIONS, 0.0
    for _ in range(2):  # measure, then scale
        onnx.save(with_detour(original, column, iterations), str(path))
        scorer = OnnxScorer(path)
        taken = min(_seconds(scorer, slow_row) for _ in range(3))  # a busy machine only adds time
        iterations = max(iterations, int(iterations * seconds / taken))
    return taken


def _seconds(scorer: OnnxScorer, row: np.ndarray) -> float:
    began = time.perf_counter()
    scorer.score(row)
    return time.perf_counter() - began


def with_hole(model: onnx.ModelProto, column: int) -> onnx.ModelProto:
    """Return the same model, whose score is no number for rows with the flag set.

    Args:
        model: The original model.
        column: Number of the flag's column in the model's only input (rows, features). The flag is
            0 or 1.
    """
    return _with_summand(
        model,
        {
            "hole_column": np.array([column], dtype=np.int64),
            "hole_half": np.array(0.5, dtype=np.float32),
            "hole_zero": np.array(0.0, dtype=np.float32),
            "hole": np.array(np.nan, dtype=np.float32),
        },
        lambda source: [
            helper.make_node("Gather", [source, "hole_column"], ["hole_flag"], axis=1),
            helper.make_node("Greater", ["hole_flag", "hole_half"], ["is_hole"]),
            helper.make_node("Where", ["is_hole", "hole", "hole_zero"], ["summand"]),
        ],
    )


def with_table(model: onnx.ModelProto, megabytes: int, seed: int) -> onnx.ModelProto:
    """Return the same model with a table of random numbers that it looks into, and ignores.

    Args:
        model: The original model.
        megabytes: Size of the table. A server needs a multiple while it loads it.
        seed: Makes the table.
    """
    width = 1_000
    rows = megabytes * 1_000_000 // (4 * width)
    table = np.random.default_rng(seed).random((rows, width), dtype=np.float32)
    return _with_summand(
        model,
        {
            "table": table,
            "table_rows": np.array(rows, dtype=np.int64),
            "table_first": np.array(0, dtype=np.int64),
            "table_zero": np.array(0.0, dtype=np.float32),
        },
        # The batch decides the row. A constant one would be looked up once, and the table dropped.
        lambda source: [
            helper.make_node("Shape", [source], ["table_shape"]),
            helper.make_node("Gather", ["table_shape", "table_first"], ["table_batch"], axis=0),
            helper.make_node("Div", ["table_batch", "table_rows"], ["table_rounds"]),
            helper.make_node("Mul", ["table_rounds", "table_rows"], ["table_before"]),
            helper.make_node("Sub", ["table_batch", "table_before"], ["table_row"]),
            helper.make_node("Gather", ["table", "table_row"], ["looked_up"], axis=0),
            helper.make_node("ReduceSum", ["looked_up"], ["table_sum"], keepdims=0),
            helper.make_node("Mul", ["table_sum", "table_zero"], ["summand"]),
        ],
    )


def _with_summand(
    model: onnx.ModelProto,
    constants: Mapping[str, np.ndarray],
    nodes: Callable[[str], list[onnx.NodeProto]],
) -> onnx.ModelProto:
    """Return a copy of a model that adds the value `summand` to its scores.

    Args:
        nodes: Input's name -> nodes that compute the value.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    output = graph.output[-1].name  # the scores; a classifier's probabilities come after its labels
    for node in graph.node:
        node.output[:] = [f"{name}_before" if name == output else name for name in node.output]
        node.input[:] = [f"{name}_before" if name == output else name for name in node.input]
    graph.initializer.extend(
        numpy_helper.from_array(value, name) for name, value in constants.items()
    )
    graph.node.extend(
        [
            *nodes(graph.input[0].name),
            helper.make_node("Add", [f"{output}_before", "summand"], [output]),
        ]
    )
    return changed


def with_detour(model: onnx.ModelProto, column: int, iterations: int) -> onnx.ModelProto:
    """Return the same model with a loop of matrix products, run when any row has the flag set.

    Args:
        model: The original model.
        column: Number of the flag's column in the model's only input (rows, features). The flag is
            0 or 1.
        iterations: Number of matrix products.
    """
    constants: dict[str, np.ndarray] = {
        "detour_column": np.array(column, dtype=np.int64),
        "detour_half": np.array(0.5, dtype=np.float32),
        "detour_iterations": np.array(iterations, dtype=np.int64),
        "detour_none": np.array(0, dtype=np.int64),
        "detour_zero": np.array(0.0, dtype=np.float32),
        "detour_true": np.array(True),
        "detour_start": np.ones((1, _WIDTH), dtype=np.float32),
        "detour_matrix": np.full((_WIDTH, _WIDTH), 0.5 / _WIDTH, dtype=np.float32),
    }
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["state_in", "detour_matrix"], ["product"]),
            helper.make_node("Tanh", ["product"], ["state_out"]),
            helper.make_node("Identity", ["go_in"], ["go_out"]),
        ],
        "detour_body",
        [
            helper.make_tensor_value_info("iteration", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state_in", TensorProto.FLOAT, [1, _WIDTH]),
        ],
        [
            helper.make_tensor_value_info("go_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state_out", TensorProto.FLOAT, [1, _WIDTH]),
        ],
    )
    return _with_summand(
        model,
        constants,
        lambda source: [
            helper.make_node("Gather", [source, "detour_column"], ["flag"], axis=1),
            helper.make_node("ReduceMax", ["flag"], ["any_slow"], keepdims=0),
            helper.make_node("Greater", ["any_slow", "detour_half"], ["is_slow"]),
            helper.make_node("Where", ["is_slow", "detour_iterations", "detour_none"], ["trips"]),
            helper.make_node(
                "Loop", ["trips", "detour_true", "detour_start"], ["burnt"], body=body
            ),
            helper.make_node("ReduceSum", ["burnt"], ["detour_sum"], keepdims=0),
            helper.make_node("Mul", ["detour_sum", "detour_zero"], ["summand"]),
        ],
    )
