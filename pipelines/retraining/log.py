"""Step 6: the MLflow run with everything that explains a version, and the version itself in the registry.

run     parameters, metrics, plots/, model_card.md, record/ (lake manifest, spec), model/ (the bundle)
version source = the run's model/, tags = the reproducibility record
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from importlib.metadata import version as package_version
from pathlib import Path

import mlflow.onnx
import msgspec
import numpy as np
import onnx
import polars as pl
import yaml
from mlflow.entities import Metric, Param, RunTag
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

from dojo.bundle import BUNDLE_HASH_TAG, MODEL_FILE, PARITY_FILE, PROFILE_FILE, Bundle, Parity, load_bundle, write_bundle
from dojo.clock import wall_now
from dojo.durations import format_duration
from dojo.registry import CHALLENGER, CHAMPION, ModelRegistry, Version
from dojo.specs import ModelSpec
from pipelines.retraining.build_dataset import feature_hash
from pipelines.retraining.collect import MANIFEST_FILE
from pipelines.retraining.model_card import model_card
from pipelines.retraining.plots import calibration_plot, importance_plot, precision_recall_plot
from pipelines.retraining.provenance import Code, current_code
from pipelines.retraining.steps import SCORES_FILE, Evaluation, Fit, Run, read_evaluation, read_fit

BUNDLE_PATH = "model"
RECORD_PATH = "record"
PLOTS_PATH = "plots"
INPUT_EXAMPLE_ROWS = 5


def log_version(run: Run, registry: ModelRegistry) -> tuple[Version, str]:
    """Log the finished run and register its version.

    Returns:
        The version and the alias it got: `champion` for a model's first version, else `challenger`.

    Raises:
        CorruptBundleError: the bundle as written does not load; nothing was registered.
        RegistryUnavailableError: MLflow does not answer.
    """
    fit, evaluation, code = read_fit(run.workspace), read_evaluation(run.workspace), current_code()
    record = reproducibility_record(run, fit, code)
    bundle_directory, bundle_sha256 = build_bundle(run, fit, evaluation)
    load_bundle(bundle_directory, bundle_sha256)  # what a server will do, before anybody relies on it
    card = model_card(run.spec, run.manifest, fit, evaluation, record)
    write_plots(run, fit, evaluation)
    (run.workspace / "model_card.md").write_text(card)
    (run.workspace / f"{run.spec.name}.yaml").write_text(dump_spec(run.spec))

    client, name = registry.client, run.spec.name
    with registry.errors(name, "training run"), _mlflow_run(registry, run) as (run_id, artifact_uri):
        _log_figures(registry, run, run_id, fit, evaluation, record)
        client.log_artifacts(run_id, str(bundle_directory), BUNDLE_PATH)
        client.log_artifacts(run_id, str(run.workspace / PLOTS_PATH), PLOTS_PATH)
        client.log_artifact(run_id, str(run.workspace / "model_card.md"))
        for file in (MANIFEST_FILE, f"{name}.yaml"):
            client.log_artifact(run_id, str(run.workspace / file), RECORD_PATH)

    metrics = {f"metric.{metric}": f"{value:.6f}" for metric, value in evaluation.metrics.items()}
    tags = {**record, **metrics, BUNDLE_HASH_TAG: bundle_sha256}
    registered = registry.register(name, run_id, f"{artifact_uri}/{BUNDLE_PATH}", tags)
    with registry.errors(name, registered.version):
        client.update_model_version(name, registered.version, description=card)
    # A later version waits as challenger: comparing it with the champion and rolling it out is not training's business.
    alias = CHAMPION if registry.by_alias(name, CHAMPION) is None else CHALLENGER
    registry.set_alias(name, alias, registered.version)
    return registry.get(name, registered.version), alias


def reproducibility_record(run: Run, fit: Fit, code: Code) -> dict[str, str]:
    """What decides a version, hashed: the tags that `reproduce` compares."""
    return {
        "data_sha256": fit.data_sha256,
        "feature_sha256": feature_hash(),
        "model_sha256": fit.model_sha256,
        "git_commit": code.commit,
        "lock_sha256": code.lock_sha256,
        "seed": str(run.spec.training.seed),
        "as_of": run.manifest.as_of.isoformat(),
    }


def build_bundle(run: Run, fit: Fit, evaluation: Evaluation) -> tuple[Path, str]:
    """Write the bundle into `<workspace>/model`. Returns its directory and bundle.json's SHA-256."""
    directory = run.workspace / BUNDLE_PATH
    parity = (run.workspace / PARITY_FILE).read_bytes()
    rows = np.asarray(msgspec.json.decode(parity, type=Parity).inputs[:INPUT_EXAMPLE_ROWS], dtype=np.float32)
    width = len(run.features)
    mlflow.onnx.save_model(
        onnx.load(str(run.workspace / MODEL_FILE)),
        str(directory),
        signature=ModelSignature(
            inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, width))]),
            outputs=Schema(
                [TensorSpec(np.dtype(np.int64), (-1,), "label"), TensorSpec(np.dtype(np.float32), (-1, 2), "probabilities")]
            ),
        ),
        input_example=rows,
        # Named, because MLflow's guess starts a process that imports everything here.
        pip_requirements=[f"{package}=={package_version(package)}" for package in ("numpy", "onnx", "onnxruntime")],
        metadata={"features": list(run.features)},
        save_as_external_data=False,
    )
    (directory / PARITY_FILE).write_bytes(parity)
    (directory / PROFILE_FILE).write_bytes((run.workspace / PROFILE_FILE).read_bytes())
    bundle = Bundle(
        model=run.spec.name,
        feature_service=run.spec.feature_service,
        features=run.features,
        stored_defaults=fit.stored_defaults,
        threshold=evaluation.threshold,
        trained_as_of=run.manifest.as_of,
        sha256={},
    )
    return directory, write_bundle(directory, bundle)


def write_plots(run: Run, fit: Fit, evaluation: Evaluation) -> None:
    """PR curve, calibration and importance, into `<workspace>/plots`."""
    directory = run.workspace / PLOTS_PATH
    directory.mkdir(exist_ok=True)
    holdout = pl.read_parquet(run.workspace / SCORES_FILE).filter(pl.col("part") == "holdout")
    labels, scores = holdout["label"].to_numpy(), holdout["score"].to_numpy()
    period = f"{run.manifest.end - run.spec.training.holdout:%Y-%m-%d} to {run.manifest.end:%Y-%m-%d}"
    precision_recall_plot(
        labels, scores, evaluation.threshold, f"{run.spec.name}: precision and recall, {period}",
        directory / "precision_recall.png",
    )  # fmt: skip
    calibration_plot(labels, scores, f"{run.spec.name}: calibration, {period}", directory / "calibration.png")
    importance_plot(fit.importance, f"{run.spec.name}: feature importance", directory / "importance.png")


def dump_spec(spec: ModelSpec) -> str:
    """The spec as YAML that `load_spec` reads back: the training parameters of record."""
    return yaml.safe_dump(_plain(spec.model_dump()), sort_keys=False)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return format_duration(value) if isinstance(value, timedelta) else value


@contextmanager
def _mlflow_run(registry: ModelRegistry, run: Run) -> Iterator[tuple[str, str]]:
    """A new MLflow run's id and artifact URI; it ends as FAILED when the block does."""
    client, name = registry.client, run.spec.name
    experiment = client.get_experiment_by_name(name)
    experiment_id = experiment.experiment_id if experiment else client.create_experiment(name)
    created = client.create_run(experiment_id, run_name=f"train-{run.manifest.as_of:%Y-%m-%dT%H:%M}").info
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # stdout belongs to the command's result
    status = "FAILED"
    try:
        yield created.run_id, created.artifact_uri
        status = "FINISHED"
    finally:
        client.set_terminated(created.run_id, status)


def _log_figures(
    registry: ModelRegistry, run: Run, run_id: str, fit: Fit, evaluation: Evaluation, record: Mapping[str, str]
) -> None:
    """The run's parameters, metrics and tags."""
    spec, manifest = run.spec, run.manifest
    now = int(wall_now().timestamp() * 1000)
    parameters = {
        **{f"estimator.{name}": value for name, value in spec.training.estimator.parameters.items()},
        "early_stopping_rounds": spec.training.estimator.early_stopping_rounds,
        "feature_service": spec.feature_service,
        "window": f"{manifest.start.isoformat()}/{manifest.end.isoformat()}",
        "validation": format_duration(spec.training.validation),
        "holdout": format_duration(spec.training.holdout),
        "seed": spec.training.seed,
        "trees": fit.trees,
        "threshold": evaluation.threshold,
    }
    counts = {f"rows_{part}": float(rows) for part, rows in fit.rows.items()} | {
        f"frauds_{part}": float(frauds) for part, frauds in fit.frauds.items()
    }
    measured = {**evaluation.metrics, **counts, "parity_difference": fit.parity_difference}
    registry.client.log_batch(
        run_id,
        metrics=[Metric(name, value, now, 0) for name, value in measured.items()],
        params=[Param(name, str(value)) for name, value in parameters.items()],
        tags=[RunTag(name, value) for name, value in record.items()],
    )
