"""A trained model's files in its workspace: the bundle, the plots, the spec of record.

They explain and serve the model. mlflow_run.py logs them.
"""

from __future__ import annotations

import shutil
from importlib.metadata import version as package_version
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import polars as pl
import yaml

from dojo.core.registry.bundle import (
    MODEL_FILE,
    PARITY_FILE,
    PROFILE_FILE,
    TREES_FILE,
    Bundle,
    Parity,
    write_bundle,
)
from dojo.core.spec.compare import plain
from dojo.core.spec.durations import format_duration
from dojo.core.spec.schema import ModelSpec
from dojo.core.tasks.specs import task_of
from pipelines.training.dataset.build import DATASET_FILE
from pipelines.training.smaller import Teacher, read_teacher
from pipelines.training.steps import Evaluation, Fit, Run, answered_parts, split_of

if TYPE_CHECKING:
    from mlflow.types import TensorSpec
    from onnx import ValueInfoProto

BUNDLE_PATH = "model"
PLOTS_PATH = "plots"
INPUT_EXAMPLE_ROWS = 5


def training_parameters(spec: ModelSpec, teacher: Teacher | None = None) -> dict[str, str]:
    """Return as text all settings that decide a training beside its data.

    Args:
        spec: The model's spec.
        teacher: What a smaller version is made from.
    """
    training = spec.training
    made = {}
    if teacher is not None and training.smaller is not None:
        made = {
            "made": teacher.words,
            **{
                f"smaller.{name}": str(value)
                for name, value in training.smaller.model_dump().items()
            },
        }
    return {
        **made,
        **{
            f"estimator.{name}": str(value) for name, value in training.estimator.parameters.items()
        },
        **{name: str(value) for name, value in task_of(spec).objective.items()},
        "early_stopping_rounds": str(training.estimator.early_stopping_rounds),
        "label": spec.label.truth,
        "feature_service": spec.feature_service,
        "validation": format_duration(training.validation),
        "holdout": format_duration(training.holdout),
        "seed": str(training.seed),
    }


def build_bundle(run: Run, fit: Fit, evaluation: Evaluation) -> tuple[Path, str]:
    """Write the bundle into `<workspace>/model`.

    Returns its directory and bundle.json's SHA-256.
    """
    import mlflow.onnx  # takes seconds, and most importers of this module log no model
    import onnx
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    directory = run.workspace / BUNDLE_PATH
    # An earlier attempt may have left files, and MLflow writes only into an empty directory.
    shutil.rmtree(directory, ignore_errors=True)
    parity = (run.workspace / PARITY_FILE).read_bytes()
    rows = np.asarray(
        msgspec.json.decode(parity, type=Parity).inputs[:INPUT_EXAMPLE_ROWS], dtype=np.float32
    )
    width, model = len(run.features), onnx.load(str(run.workspace / MODEL_FILE))
    mlflow.onnx.save_model(
        model,
        str(directory),
        signature=ModelSignature(
            inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, width))]),
            outputs=Schema([_output_of(value) for value in model.graph.output]),
        ),
        input_example=rows,
        # Listed here, because MLflow's guess starts a process that imports everything.
        pip_requirements=[
            f"{package}=={package_version(package)}" for package in ("numpy", "onnx", "onnxruntime")
        ],
        metadata={"features": list(run.features)},
        save_as_external_data=False,
    )
    (directory / PARITY_FILE).write_bytes(parity)
    for name in (PROFILE_FILE, TREES_FILE):
        (directory / name).write_bytes((run.workspace / name).read_bytes())
    bundle = Bundle(
        model=run.spec.name,
        feature_service=run.spec.feature_service,
        features=run.features,
        stored_defaults=fit.stored_defaults,
        categories=fit.categories,
        decision=evaluation.decision,
        trained_as_of=run.manifest.as_of,
        sha256={},
        parameters=training_parameters(run.spec, read_teacher(run.workspace)),
    )
    return directory, write_bundle(directory, bundle)


def _output_of(value: ValueInfoProto) -> TensorSpec:
    """Return an ONNX output as MLflow describes it. The number of rows is open."""
    from mlflow.types import TensorSpec
    from onnx.helper import tensor_dtype_to_np_dtype

    tensor = value.type.tensor_type
    sizes = [dimension.dim_value for dimension in tensor.shape.dim]
    return TensorSpec(
        np.dtype(tensor_dtype_to_np_dtype(tensor.elem_type)), (-1, *sizes[1:]), value.name
    )


def write_plots(run: Run, fit: Fit, evaluation: Evaluation) -> None:
    """Write the task's curves and the importance of features into `<workspace>/plots`."""
    from pipelines.release.plots import curve_plot, importance_plot  # Matplotlib

    directory = run.workspace / PLOTS_PATH
    directory.mkdir(exist_ok=True)
    split = split_of(run, pl.read_parquet(run.workspace / DATASET_FILE, glob=False))
    task, (_, holdout) = task_of(run.spec), answered_parts(run, split)
    decision = evaluation.decision
    holdout = holdout.scored(holdout.scores, task.flagged(holdout.scores, decision), decision)
    period = (
        f"{run.manifest.end - run.spec.training.holdout:%Y-%m-%d} to {run.manifest.end:%Y-%m-%d}"
    )
    for curve in task.curves(holdout, "model"):
        curve_plot(
            [curve], f"{run.spec.name}: {curve.title}\n{period}", directory / f"{curve.name}.png"
        )
    importance_plot(
        fit.importance, f"{run.spec.name}: feature importance", directory / "importance.png"
    )


def dump_spec(spec: ModelSpec) -> str:
    """Return the spec as YAML for `load_spec`, as the training parameters of record."""
    return yaml.safe_dump(plain(spec), sort_keys=False)
