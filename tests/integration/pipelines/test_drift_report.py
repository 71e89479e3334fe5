"""The drift report end to end, from reference rows to Evidently's page in MLflow.

test_retraining.py tests that training keeps reference rows.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import Result
from typer.testing import CliRunner

from dojo.cli.app import build as build_commands
from dojo.core.events.types import Stream
from dojo.core.lake import Lake
from dojo.core.registry.errors import UnknownVersionError
from dojo.core.registry.tags import VersionTags
from dojo.core.registry.versions import ModelRegistry, Version
from dojo.core.settings import Settings
from dojo.core.spec.schema import ModelSpec
from dojo.core.tasks.records import Answered
from dojo.stats.histograms.binning import bin_counts, population_stability_index, quantile_edges
from feature_repo.catalog import SERVICES
from pipelines.drift_report import DriftReport, EmptyWindowError, NoReferenceError, build
from pipelines.drift_report.rows import MOST_ROWS, reference_side, window_side
from pipelines.release.artefacts import dump_spec
from pipelines.release.job_runs import create_run
from pipelines.release.mlflow_run import RECORD_PATH
from pipelines.release.tracking import tracking_client
from pipelines.training.reference import ReferenceHoldout
from pipelines.training.reference_rows import (
    REFERENCE_ROWS_FILE,
    ROWS,
    SCORE_COLUMN,
    reference_rows,
)
from tests.support.bundles import SERVICE, register_champion
from tests.support.payments import small_spec
from tests.support.registries import sealed_registry
from tests.support.servers import MlflowServer

pytestmark = pytest.mark.integration

FEATURES = SERVICES[SERVICE].features
HOUR = timedelta(hours=1)
QUIET, DRIFTED = (
    datetime(2030, 2, 1, tzinfo=UTC),
    datetime(2030, 2, 2, tzinfo=UTC),
)  # starts of two windows


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    return small_spec("drift_report_e2e")


@pytest.fixture(scope="module")
def settings(
    tmp_path_factory: pytest.TempPathFactory, mlflow_server: MlflowServer, spec: ModelSpec
) -> Settings:
    home = tmp_path_factory.mktemp("home")
    (home / "models").mkdir()
    (home / "models" / f"{spec.name}.yaml").write_text(dump_spec(spec))
    return Settings(home=home, models_dir=home / "models", mlflow_url=mlflow_server.url)


@pytest.fixture(scope="module")
def registry(mlflow_server: MlflowServer) -> ModelRegistry:
    return sealed_registry(mlflow_server.url)


@pytest.fixture(scope="module")
def version(settings: Settings, spec: ModelSpec, registry: ModelRegistry) -> Version:
    """Register a version with its holdout's rows, and two windows of answers.

    One window is like the holdout. In the other, amounts have another unit.
    """
    random = np.random.default_rng(1)
    inputs = np.round(random.lognormal(1, 1, (3000, len(FEATURES))), 2).astype(np.float32)
    inputs[:, FEATURES.index("is_night")] = random.random(3000) < 0.3
    inputs[:, FEATURES.index("is_weekend")] = 0.0  # draw a constant, too
    answered = Answered(labels=np.zeros(3000), scores=random.beta(0.3, 30, 3000))
    holdout = ReferenceHoldout(names=FEATURES, inputs=inputs, answered=answered, missing={})
    run = create_run(registry, spec.name, "training", {})
    reference = reference_rows(holdout, spec)
    reference.write_parquet(settings.home / REFERENCE_ROWS_FILE)
    tracking_client(registry).log_artifact(
        run.info.run_id, str(settings.home / REFERENCE_ROWS_FILE), RECORD_PATH
    )
    made = registry.register(
        spec.name, run.info.run_id, f"{run.info.artifact_uri}/model", VersionTags()
    )
    lake = Lake(settings.lake_dir)
    drawn = reference.sample(1500, with_replacement=True, seed=1)
    answer(lake, spec.name, made.version, drawn, QUIET)
    answer(lake, spec.name, made.version, drawn.with_columns(pl.col("amount") * 3), DRIFTED)
    return made


def answer(lake: Lake, model: str, version: str, rows: pl.DataFrame, start: datetime) -> None:
    """Write rows as predictions of the hour from `start` on, as the recorder does."""
    features = [name for name in rows.columns if name != SCORE_COLUMN]
    ids = [f"{model}-{start:%d%H}-{number}" for number in range(rows.height)]
    frame = pl.DataFrame(
        {
            "event_id": ids,
            "world_time": [start + HOUR * number / rows.height for number in range(rows.height)],
            "wall_time": start,
            "prediction_id": ids,
            "request_id": ids,
            "model": model,
            "version": version,
            "arm": "champion",
            "entity_keys": "{}",
            "feature_names": [features] * rows.height,
            "features": (
                rows.select(pl.col(features).cast(pl.Float64).round(2)).rows()
            ),  # cents, as Float64 has them
            "feature_age_seconds": "{}",
            "score": rows[SCORE_COLUMN],
            "flagged": False,
            "latency_seconds": 0.001,
            "degraded": [[]] * rows.height,
            "route_generation": 0,
            "trace_id": "",
            "propensity": 1.0,
            "cached_seconds": None,
            "new_categories": "{}",
        },
        schema_overrides={"degraded": pl.List(pl.String), "cached_seconds": pl.Float64},
    )
    lake.write(Stream.PREDICTIONS, frame, f"part-{start:%d%H}")


@pytest.fixture(scope="module")
def report(settings: Settings, spec: ModelSpec, version: Version) -> DriftReport:
    return build(settings, spec.name, version.version, DRIFTED, DRIFTED + HOUR)


def page_of(report: DriftReport, registry: ModelRegistry, directory: Path) -> str:
    return Path(
        tracking_client(registry).download_artifacts(report.run_id, report.artifact, str(directory))
    ).read_text()


def experiment_of(version: Version, registry: ModelRegistry) -> str:
    return str(tracking_client(registry).get_run(version.run_id).info.experiment_id)


def test_a_drifted_feature_is_named_as_drifted_and_no_other(
    report: DriftReport,
    settings: Settings,
    spec: ModelSpec,
    registry: ModelRegistry,
    version: Version,
    tmp_path: Path,
) -> None:
    assert report.drifted == ("amount",)
    reference = reference_side(registry, version)
    columns, amounts = reference.columns, reference["amount"].to_numpy()
    assert report.share == pytest.approx(1 / len(columns))
    page = page_of(report, registry, tmp_path)
    seen, _ = window_side(
        Lake(settings.lake_dir), spec.name, version.version, DRIFTED, DRIFTED + HOUR, columns
    )
    edges = quantile_edges(amounts)
    psi = population_stability_index(
        bin_counts(amounts, edges), bin_counts(seen["amount"].to_numpy(), edges)
    )
    assert f"drifted</b>: amount (PSI {psi:.3f})</li>" in page
    for name in columns:
        assert f'"{name}"' in page
    # Evidently's own count, and its verdict on the whole data set (half of the columns).
    assert '{"value": "1", "label": "Drifted Columns"}' in page
    assert f'{{"value": "{len(columns)}", "label": "Columns"}}' in page
    assert "Dataset Drift is NOT detected" in page
    assert "PSI, reference quantiles" in page
    assert (
        str(report)
        == report.url
        == f"{registry.url}/#/experiments/{experiment_of(version, registry)}"
        f"/runs/{version.run_id}/artifacts/{report.artifact}"
    )


def test_the_command_draws_a_quiet_window_with_nothing_drifted(
    report: DriftReport,
    settings: Settings,
    spec: ModelSpec,
    version: Version,
    registry: ModelRegistry,
    tmp_path: Path,
) -> None:
    environment = {
        "DOJO_HOME": str(settings.home),
        "DOJO_MODELS_DIR": str(settings.models_dir),
        "DOJO_MLFLOW_URL": settings.mlflow_url,
    }
    start, end = (f"{moment:%Y-%m-%dT%H:%M}" for moment in (QUIET, QUIET + HOUR))

    def command(number: str) -> Result:
        arguments = ["drift", "report", f"{spec.name}@{number}", start, end]
        return CliRunner().invoke(build_commands(), arguments, env=environment)

    drawn = command(version.version)
    assert drawn.exit_code == 0, drawn.output
    url, drifted = drawn.stdout.splitlines()
    assert drifted == "drifted: none (1500 rows against 2000)"
    assert (
        registry.get(spec.name, version.version).tags.drift_report == url != report.url
    )  # the newest one
    artifact = url.partition("/artifacts/")[2]
    page = Path(
        tracking_client(registry).download_artifacts(version.run_id, artifact, str(tmp_path))
    ).read_text()
    assert "drifted</b>: none" in page
    assert "all features together</b>: cannot be told apart beyond chance: AUC 0." in page
    assert '{"value": "0", "label": "Drifted Columns"}' in page
    refused = command("999")
    assert refused.exit_code == 1
    assert "not in the registry" in refused.stderr


def test_both_sides_are_what_the_model_saw(
    version: Version, settings: Settings, spec: ModelSpec, registry: ModelRegistry
) -> None:
    reference = reference_side(registry, version)
    assert reference.height == ROWS
    assert reference.schema["amount"] == pl.Float32()
    lake = Lake(settings.lake_dir)
    current, rows = window_side(
        lake, spec.name, version.version, QUIET, QUIET + HOUR, reference.columns
    )
    assert (current.columns, current.schema["amount"], current.height, rows) == (
        reference.columns,
        pl.Float32(),
        1500,
        1500,
    )
    # The rows were drawn from the reference. As Float64, 57.16 lies above its Float32 and so above
    # that bin edge.
    assert np.isin(current["amount"].to_numpy(), reference["amount"].to_numpy()).all()
    half, rows = window_side(
        lake, spec.name, version.version, QUIET, QUIET + HOUR / 2, reference.columns
    )
    assert rows == half.height == 750


def test_a_large_window_is_sampled_and_the_same_each_time(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    rows = pl.DataFrame(
        {
            "amount": np.arange(MOST_ROWS + 500, dtype=np.float32),
            SCORE_COLUMN: np.zeros(MOST_ROWS + 500),
        }
    )
    answer(lake, "large", "1", rows, QUIET)
    first, total = window_side(lake, "large", "1", QUIET, QUIET + HOUR, rows.columns)
    assert (first.height, first["amount"].n_unique(), total) == (
        MOST_ROWS,
        MOST_ROWS,
        MOST_ROWS + 500,
    )
    assert first.equals(window_side(lake, "large", "1", QUIET, QUIET + HOUR, rows.columns)[0])
    with pytest.raises(
        EmptyWindowError, match="expected predictions with features height, found amount"
    ):
        window_side(lake, "large", "1", QUIET, QUIET + HOUR, ["height", SCORE_COLUMN])


def test_what_cannot_be_drawn_says_why(
    settings: Settings, spec: ModelSpec, registry: ModelRegistry, version: Version, tmp_path: Path
) -> None:
    with pytest.raises(EmptyWindowError, match="no prediction in the lake"):
        build(settings, spec.name, version.version, QUIET - HOUR, QUIET)
    with pytest.raises(UnknownVersionError):
        build(settings, spec.name, "999", QUIET, QUIET + HOUR)
    with pytest.raises(ValueError, match="expected start < end"):
        build(settings, spec.name, version.version, QUIET, QUIET)
    (tmp_path / "bundle.json").write_text("{}")
    older = register_champion(
        registry, tmp_path, "0" * 64, spec.name
    )  # as before the time of reference rows
    with pytest.raises(
        NoReferenceError,
        match=f"{spec.name}@{older.version}: run {older.run_id} has no record/reference_rows",
    ):
        build(settings, spec.name, older.version, QUIET, QUIET + HOUR)
