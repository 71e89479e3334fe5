"""Imported once by the process that killed_tasks.py forks its victims from: what tasks would import when they first need it.

Nothing here may start a thread or touch data: a fork copies neither threads nor the holders of their locks.
"""

from __future__ import annotations

import contextlib
from importlib import import_module

from dojo.registry import ModelRegistry, RegistryUnavailableError

for name in (
    "feast",
    "feature_repo.store",
    "ibis.backends.duckdb",
    "matplotlib.backends.backend_agg",
    "mlflow.artifacts",
    "mlflow.onnx",
    "mlflow.pyfunc",
    "onnxmltools.convert.lightgbm.operator_converters.LightGbm",
    "pandera.backends.polars.register",
    "pipelines.retraining.convert",
    "pipelines.retraining.gate_report",
    "pipelines.retraining.pipeline",
    "pipelines.retraining.train",
    "pipelines.retraining.validate",
):
    import_module(name)

with contextlib.suppress(RegistryUnavailableError):  # nobody is there: what MLflow imports for its first request stays
    ModelRegistry("http://127.0.0.1:1", timeout_seconds=1, retries=0).models()
