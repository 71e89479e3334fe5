"""The MLflow run with everything that explains a model, and its version in the registry.

The run holds:

    parameters, metrics, plots/, model_card.md
    record/    lake manifest, spec, reference rows, and the champion's trees of a smaller version
    model/     the bundle
    gate/      written by tasks.compare

The version's source is the run's model/. Its tags are the reproducibility record and the gate's
verdict.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from dojo.core.registry.bundle import load_bundle
from dojo.core.registry.tags import VersionTags
from dojo.core.registry.versions import ModelRegistry, Version
from dojo.core.spec.compare import spec_hash
from dojo.core.state.clock import wall_now
from pipelines.release.artefacts import (
    BUNDLE_PATH,
    PLOTS_PATH,
    build_bundle,
    dump_spec,
    training_parameters,
    write_plots,
)
from pipelines.release.job_runs import FINISHED, WHO_TAG, JobTags, create_run, run_of_job
from pipelines.release.model_card import model_card
from pipelines.release.provenance import Code, current_code
from pipelines.release.tracking import tracking_client, tracking_errors
from pipelines.training.dataset.build import feature_hash
from pipelines.training.dataset.collect import MANIFEST_FILE
from pipelines.training.reference_rows import REFERENCE_ROWS_FILE
from pipelines.training.smaller import TEACHER_FILE, read_teacher
from pipelines.training.steps import Evaluation, Fit, Run, read_evaluation, read_fit

RECORD_PATH = "record"
CARD_FILE = "model_card.md"

# Prefixes of other figures among a run's metrics. They are sample sizes and the conversion's
# exactness.
ROWS, SUPPORT, PARITY = "rows_", "support_", "parity_"
BESIDE_METRICS = (ROWS, SUPPORT, PARITY)


def log_run(run: Run, registry: ModelRegistry, job: JobTags | None = None) -> str:
    """Log everything that explains the trained model to its MLflow run, which stays open.

    May be repeated.

    Args:
        run: The training run.
        registry: The model registry.
        job: The retraining of the run. None makes a new run each time. A job's finished run stays
            unchanged.

    Returns:
        The run's id.

    Raises:
        CorruptBundleError: The written bundle does not load. Nothing was logged.
        RegistryUnavailableError: MLflow does not answer.
    """
    fit, evaluation, code = read_fit(run.workspace), read_evaluation(run.workspace), current_code()
    record = reproducibility_record(run, fit, code)
    bundle_directory, bundle_sha256 = build_bundle(run, fit, evaluation)
    load_bundle(bundle_directory, bundle_sha256)  # as a server will, before one relies on it
    write_plots(run, fit, evaluation)
    (run.workspace / CARD_FILE).write_text(
        model_card(run.spec, run.manifest, fit, evaluation, record.written())
    )
    (run.workspace / f"{run.spec.name}.yaml").write_text(dump_spec(run.spec))

    os.environ.setdefault(
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true"
    )  # stdout belongs to the command's result
    client, name = tracking_client(registry), run.spec.name
    title = f"train-{run.manifest.as_of:%Y-%m-%dT%H:%M}"
    with tracking_errors(name, "training run"):
        opened = (
            run_of_job(registry, name, job, title, record)
            if job
            else create_run(registry, name, title, record.written())
        )
        if opened.info.status == FINISHED:
            return str(opened.info.run_id)
        with _failed_on_error(registry, opened.info.run_id) as run_id:
            primary = run.spec.gate.primary_metric
            tags = msgspec.structs.replace(
                record, bundle_sha256=bundle_sha256, primary_metric=primary
            )
            _log_figures(registry, run, run_id, fit, evaluation, tags)
            client.log_artifacts(run_id, str(bundle_directory), BUNDLE_PATH)
            client.log_artifacts(run_id, str(run.workspace / PLOTS_PATH), PLOTS_PATH)
            client.log_artifact(run_id, str(run.workspace / CARD_FILE))
            smaller = (TEACHER_FILE,) if read_teacher(run.workspace) else ()
            for file in (MANIFEST_FILE, f"{name}.yaml", REFERENCE_ROWS_FILE, *smaller):
                client.log_artifact(run_id, str(run.workspace / file), RECORD_PATH)
    return run_id


def register_run(registry: ModelRegistry, model: str, run_id: str) -> Version:
    """Register a run's model as a version. Repeating it finds the version.

    Its tags are the run's record, metrics and gate verdict. Everything comes from the run. So the
    caller needs no workspace and cannot register anything else.

    Raises:
        RegistryUnavailableError: MLflow does not answer.
    """
    with tracking_errors(model, run_id), TemporaryDirectory() as directory:
        run = tracking_client(registry).get_run(run_id)
        card = Path(
            tracking_client(registry).download_artifacts(run_id, CARD_FILE, directory)
        ).read_text()
        metrics = {
            name: value
            for name, value in run.data.metrics.items()
            if not name.startswith(BESIDE_METRICS)
        }
        tags = msgspec.structs.replace(
            VersionTags.read(run.data.tags), metrics=metrics, proposed_by=run.data.tags.get(WHO_TAG)
        )
        version = registry.register(model, run_id, f"{run.info.artifact_uri}/{BUNDLE_PATH}", tags)
        tracking_client(registry).update_model_version(model, version.version, description=card)
    return version


def reproducibility_record(run: Run, fit: Fit, code: Code) -> VersionTags:
    """Return hashes of everything that decides a version, as tags. `reproduce` compares them."""
    return VersionTags(
        data_sha256=fit.data_sha256,
        feature_sha256=feature_hash(),
        model_sha256=fit.model_sha256,
        spec_sha256=spec_hash(run.spec),
        git_commit=code.commit,
        lock_sha256=code.lock_sha256,
        seed=run.spec.training.seed,
        as_of=run.manifest.as_of,
        made=None if (teacher := read_teacher(run.workspace)) is None else teacher.words,
    )


@contextmanager
def _failed_on_error(registry: ModelRegistry, run_id: str) -> Iterator[str]:
    """End the run as FAILED when the block raises."""
    try:
        yield run_id
    except Exception:
        tracking_client(registry).set_terminated(run_id, "FAILED")
        raise


def _log_figures(
    registry: ModelRegistry,
    run: Run,
    run_id: str,
    fit: Fit,
    evaluation: Evaluation,
    record: VersionTags,
) -> None:
    """Log the run's parameters, metrics and tags."""
    from mlflow.entities import Metric, Param, RunTag

    manifest, now = run.manifest, int(wall_now().timestamp() * 1000)
    parameters = {
        **training_parameters(run.spec, read_teacher(run.workspace)),
        "window": f"{manifest.start.isoformat()}/{manifest.end.isoformat()}",
        "trees": fit.trees,
        **evaluation.decision,
    }
    counts = {f"{ROWS}{part}": float(rows) for part, rows in fit.rows.items()} | {
        f"{SUPPORT}{part}": float(support) for part, support in fit.support.items()
    }
    measured = {**evaluation.metrics, **counts, f"{PARITY}difference": fit.parity_difference}
    tracking_client(registry).log_batch(
        run_id,
        metrics=[Metric(name, value, now, 0) for name, value in measured.items()],
        params=[Param(name, str(value)) for name, value in parameters.items()],
        tags=[RunTag(name, value) for name, value in record.written().items()],
    )
