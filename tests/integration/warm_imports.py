"""Imported once by the fork server: what services and tasks would import when they start or first need it.

Nothing here may start a thread or touch data: a fork copies neither threads nor the holders of their locks.
"""

from __future__ import annotations

import contextlib
import os
from importlib import import_module

# Feast, once imported by some test, has told every process after it to keep its metrics in files of Feast's. The metrics library reads
# this when it is imported: so before anything else here.
os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)

from mlflow.exceptions import MlflowException

from dojo.core.registry.versions import ModelRegistry
from pipelines.release.tracking import tracking_client

for name in (
    "services.monitor.__main__",
    "services.recorder.__main__",
    "feast",
    "feature_repo.store",
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
    "tests.integration.pipelines.killed_tasks",
    "tests.integration.services.monitor.monitoring",
    "tests.integration.services.recorder.recording",
):
    import_module(name)
os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)  # Feast, imported by now, set it once more

with contextlib.suppress(MlflowException):  # nobody is there: what MLflow imports for its first request stays
    tracking_client(ModelRegistry("http://127.0.0.1:1", timeout_seconds=1, retries=0)).search_registered_models()
