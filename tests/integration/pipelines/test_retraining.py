"""Training end to end on a small shop: real MLflow, Feast's real join, ONNX, and what must be refused."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import mlflow
import msgspec
import numpy as np
import polars as pl
import pytest

from dojo.core.events.types import Stream
from dojo.core.lake import Lake
from dojo.core.registry.bundle import (
    BUNDLE_HASH_TAG,
    MODEL_FILE,
    PARITY_FILE,
    PARITY_TOLERANCE,
    PROFILE_FILE,
    Parity,
    load_bundle,
)
from dojo.core.registry.errors import RegistryUnavailableError
from dojo.core.registry.reference_profile import ReferenceProfile
from dojo.core.registry.versions import CHALLENGER, CHAMPION, ModelRegistry
from dojo.core.spec.load import ModelSpec
from pipelines.release.tracking import tracking_client
from pipelines.reproduce import reproduce, reproduced
from pipelines.retraining import TrainingResult, run_training
from pipelines.training.dataset.build import stored_features
from pipelines.training.errors import InvalidDataError, LakeChangedError
from pipelines.training.steps import Run
from tests.support.payments import START, fill_lake, payments, small_spec
from tests.support.servers import MlflowServer, free_port

pytestmark = pytest.mark.integration

DAYS = 40
AS_OF = START + timedelta(days=DAYS)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return fill_lake(tmp_path_factory.mktemp("lake"), payments(DAYS), AS_OF)


@pytest.fixture(scope="module")
def registry(mlflow_server: MlflowServer) -> ModelRegistry:
    return ModelRegistry(mlflow_server.url)


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    return small_spec("retraining_e2e")


@pytest.fixture(scope="module")
def first(lake: Lake, registry: ModelRegistry, spec: ModelSpec, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    return run_training(Run(lake, spec, tmp_path_factory.mktemp("first")), registry, AS_OF)


def test_the_first_version_becomes_champion_with_everything_recorded(
    first: TrainingResult, registry: ModelRegistry, spec: ModelSpec
) -> None:
    champion = registry.by_alias(spec.name, CHAMPION)
    assert champion is not None
    assert (champion.version, first.alias) == (first.version.version, CHAMPION)
    for tag in ("data_sha256", "feature_sha256", "model_sha256", "git_commit", "lock_sha256", "seed", "as_of", BUNDLE_HASH_TAG):
        assert champion.tags[tag]
    run = tracking_client(registry).get_run(champion.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["pr_auc"] == pytest.approx(first.metrics["pr_auc"])
    assert run.data.metrics["rows_holdout"] == first.fit.rows["holdout"]
    assert run.data.params["estimator.learning_rate"] == str(spec.training.estimator.parameters["learning_rate"])
    logged = {
        file.path
        for folder in ("", "plots", "record", "model")
        for file in tracking_client(registry).list_artifacts(champion.run_id, folder)
    }
    assert {
        "model_card.md",
        "plots/precision_recall.png",
        "plots/calibration.png",
        "plots/importance.png",
        "record/lake_manifest.json",
        f"record/{spec.name}.yaml",
        "record/reference_rows.parquet",
        "model/MLmodel",
        "model/bundle.json",
        "model/input_example.json",
    } <= logged
    card = tracking_client(registry).get_model_version(spec.name, champion.version).description
    assert "| train |" in card
    assert champion.tags["data_sha256"] in card


def test_it_learned_what_the_shop_has_to_teach(first: TrainingResult) -> None:
    assert first.metrics["pr_auc"] > 0.5  # a random score gets 0.05
    assert sum(first.fit.rows.values()) == pytest.approx(24 * 120, rel=0.05)
    assert first.fit.parity_difference <= PARITY_TOLERANCE


def test_the_bundle_is_what_a_server_needs(
    first: TrainingResult, registry: ModelRegistry, spec: ModelSpec, tmp_path: Path
) -> None:
    directory = registry.download(first.version, tmp_path)
    bundle, scorer = load_bundle(directory, first.version.tags[BUNDLE_HASH_TAG])
    assert bundle.model == spec.name
    assert bundle.trained_as_of == AS_OF
    assert bundle.threshold == first.threshold
    assert tuple(bundle.stored_defaults) == stored_features(spec.feature_service)
    parity = msgspec.json.decode((directory / PARITY_FILE).read_bytes(), type=Parity)
    assert scorer.score(np.asarray(parity.inputs[:1], dtype=np.float32)).shape == (1,)
    profile = ReferenceProfile.read(directory / PROFILE_FILE)
    assert tuple(profile.features) == bundle.features
    assert profile.rows == first.fit.rows["holdout"]


def test_reference_rows_are_the_holdouts_and_score_as_they_say(
    first: TrainingResult, registry: ModelRegistry, tmp_path: Path
) -> None:
    rows = pl.read_parquet(registry.download_run_artifact(first.version, "record/reference_rows.parquet", tmp_path / "rows"))
    bundle, scorer = load_bundle(registry.download(first.version, tmp_path / "bundle"))
    assert tuple(rows.columns) == (*bundle.features, "score")
    assert rows.height == first.fit.rows["holdout"]  # fewer than the sample's size
    inputs = np.ascontiguousarray(rows.select(bundle.features).to_numpy(), dtype=np.float32)
    np.testing.assert_allclose(scorer.score(inputs), rows["score"], atol=PARITY_TOLERANCE)


def test_any_mlflow_client_can_load_the_champion_and_gets_trainings_scores(
    first: TrainingResult, registry: ModelRegistry, spec: ModelSpec, tmp_path: Path
) -> None:
    parity = msgspec.json.decode((registry.download(first.version, tmp_path) / PARITY_FILE).read_bytes(), type=Parity)
    with tracking_uri(registry.url):
        model = mlflow.pyfunc.load_model(f"models:/{spec.name}@{CHAMPION}")
    answer = model.predict(np.asarray(parity.inputs, dtype=np.float32))
    np.testing.assert_allclose(np.asarray(answer["probabilities"])[:, 1], parity.scores, atol=PARITY_TOLERANCE)


def test_a_version_can_be_rebuilt_to_the_byte(
    first: TrainingResult, lake: Lake, registry: ModelRegistry, tmp_path: Path
) -> None:
    comparisons = reproduce(registry, lake, first.version, tmp_path / "again")
    assert [c.what for c in comparisons] == [
        "data_sha256", "feature_sha256", "git_commit", "lock_sha256", "seed", "metrics", "model_sha256"
    ]  # fmt: skip
    # The commit may move under a test's feet when somebody edits the checkout meanwhile; nothing else may.
    assert [c for c in comparisons if not c.agrees and c.what not in ("git_commit", "lock_sha256")] == []
    assert reproduced(comparisons)


def test_a_second_version_becomes_challenger_and_is_told_apart(
    first: TrainingResult, lake: Lake, registry: ModelRegistry, spec: ModelSpec, tmp_path: Path
) -> None:
    """Rebuilt from the second run's record, the first version's data, metrics and model differ."""
    earlier = run_training(Run(lake, spec, tmp_path / "run"), registry, AS_OF - timedelta(days=3))
    assert earlier.alias == CHALLENGER
    challenger, champion = registry.by_alias(spec.name, CHALLENGER), registry.by_alias(spec.name, CHAMPION)
    assert challenger is not None
    assert champion is not None
    assert (challenger.version, champion.version) == (earlier.version.version, first.version.version)
    mixed = replace(first.version, run_id=earlier.version.run_id)
    comparisons = reproduce(registry, lake, mixed, tmp_path / "again")
    assert {c.what for c in comparisons if not c.agrees} >= {"data_sha256", "metrics", "model_sha256"}
    assert not reproduced(comparisons)


def test_a_changed_lake_file_is_named_and_nothing_is_rebuilt(
    first: TrainingResult, lake: Lake, registry: ModelRegistry, tmp_path: Path
) -> None:
    changed = Lake(tmp_path / "lake")
    shutil.copytree(lake.root, changed.root)
    file = changed.files(Stream.TRANSACTIONS)[20]
    frame = pl.read_parquet(file)
    frame.with_columns(pl.col("amount") + 0.01).write_parquet(file)
    with pytest.raises(LakeChangedError, match=str(file.relative_to(changed.root))):
        reproduce(registry, changed, first.version, tmp_path / "again")
    assert not (tmp_path / "again" / MODEL_FILE).exists()


def test_corrupt_data_is_refused_and_nothing_is_registered(lake: Lake, registry: ModelRegistry, tmp_path: Path) -> None:
    corrupt = Lake(tmp_path / "lake")
    shutil.copytree(lake.root, corrupt.root)
    file = corrupt.files(Stream.TRANSACTIONS)[20]
    pl.read_parquet(file).with_columns(pl.lit(-1.0).alias("amount")).write_parquet(file)
    spec = small_spec("retraining_corrupt")
    with pytest.raises(
        InvalidDataError, match=r"transactions.amount: expected in_range\(0, 1000000.0\), found '-1.0' \(rows: 1"
    ):
        run_training(Run(corrupt, spec, tmp_path / "run"), registry, AS_OF)
    assert registry.versions(spec.name) == []
    assert tracking_client(registry).get_experiment_by_name(spec.name) is None


def test_without_mlflow_training_says_so_and_leaves_nothing(lake: Lake, tmp_path: Path) -> None:
    nobody = ModelRegistry(f"http://127.0.0.1:{free_port()}", timeout_seconds=1, retries=0)
    with pytest.raises(RegistryUnavailableError, match="MLflow did not answer"):
        run_training(Run(lake, small_spec("retraining_alone"), tmp_path), nobody, AS_OF)


@contextmanager
def tracking_uri(url: str) -> Iterator[None]:
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(url)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)
        os.environ.pop("MLFLOW_TRACKING_URI", None)
