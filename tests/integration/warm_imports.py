"""The imports of services and tasks, done once by the fork server.

No import may start a thread or touch data. A fork copies locks, but not the threads that hold them.
"""

from __future__ import annotations

import contextlib
from importlib import import_module

from mlflow.exceptions import MlflowException

from dojo.core.registry.versions import ModelRegistry
from feature_repo.store import import_feast
from pipelines.release.tracking import tracking_client

import_feast()
for name in (
    "services.monitor.__main__",
    "services.recorder.__main__",
    "ibis.backends.duckdb",
    "matplotlib.backends.backend_agg",
    "mlflow.artifacts",
    "mlflow.onnx",
    "mlflow.pyfunc",
    "onnxmltools.convert.lightgbm.operator_converters.LightGbm",
    "pandera.backends.polars.register",
    "pipelines.training.convert",
    "pipelines.gate.report",
    "pipelines.retraining",
    "pipelines.training.train",
    "pipelines.training.dataset.validate",
    "tests.integration.pipelines.killed_batch",
    "tests.integration.pipelines.killed_tasks",
    "tests.integration.services.monitor.monitoring",
    "tests.integration.services.recorder.recording",
):
    import_module(name)

with contextlib.suppress(
    MlflowException
):  # no server is there, but the modules for MLflow's first request stay imported
    tracking_client(
        ModelRegistry("http://127.0.0.1:1", timeout_seconds=1, retries=0)
    ).search_registered_models()
