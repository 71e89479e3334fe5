"""Training end to end on a small shop, and refusals.

MLflow, Feast's join and ONNX are real.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from dojo.core.lake import Lake
from dojo.core.registry.bundle import (
    MODEL_FILE,
    PARITY_FILE,
    PARITY_TOLERANCE,
    PROFILE_FILE,
    Parity,
    load_bundle,
)
from dojo.core.registry.errors import RegistryUnavailableError
from dojo.core.registry.reference_profile import ReferenceProfile
from dojo.core.registry.versions import CHALLENGER, CHAMPION, ModelRegistry, Version
from dojo.core.settings import Settings
from dojo.core.spec.compare import spec_hash
from dojo.core.spec.schema import ModelSpec
from dojo.shop.events import TRANSACTIONS
from pipelines.release.artefacts import dump_spec
from pipelines.release.tracking import tracking_client
from pipelines.reproduce import reproduce, reproduced
from pipelines.retention import champions_of
from pipelines.retraining import run_retraining
from pipelines.training.dataset.build import stored_features
from pipelines.training.errors import InvalidDataError, LakeChangedError
from pipelines.training.job import Job
from pipelines.training.steps import Evaluation, Fit, read_evaluation, read_fit
from tests.support.payments import START, fill_lake, payments, small_spec, with_checks
from tests.support.registries import sealed_registry
from tests.support.servers import MlflowServer, RedisServer, free_port

pytestmark = pytest.mark.integration

DAYS = 40
AS_OF = START + timedelta(days=DAYS)


@dataclass(frozen=True)
class Trained:
    """A version trained without a gate, and its workspace."""

    version: Version
    alias: str
    fit: Fit
    metrics: dict[str, float]
    decision: dict[str, float]


@pytest.fixture(scope="module")
def settings(
    tmp_path_factory: pytest.TempPathFactory, mlflow_server: MlflowServer
) -> Iterator[Settings]:
    home = tmp_path_factory.mktemp("home")
    fill_lake(
        home / "lake",
        payments(DAYS),
        AS_OF,
        ["retraining_e2e", "retraining_corrupt", "retraining_leak", "retraining_alone"],
    )
    (home / "models").mkdir()
    redis = RedisServer(home)
    redis.start()
    yield Settings(
        home=home, models_dir=home / "models", redis_url=redis.url, mlflow_url=mlflow_server.url
    )
    redis.stop()


@pytest.fixture(scope="module")
def lake(settings: Settings) -> Lake:
    return Lake(settings.lake_dir)


@pytest.fixture(scope="module")
def registry(mlflow_server: MlflowServer) -> ModelRegistry:
    return sealed_registry(mlflow_server.url)


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    return small_spec("retraining_e2e")


def train(settings: Settings, spec: ModelSpec, as_of: datetime) -> Trained:
    """Train as `dojo train` does."""
    (settings.models_dir / f"{spec.name}.yaml").write_text(dump_spec(spec))
    job = Job(
        model=spec.name,
        key=f"{as_of:%Y-%m-%d}",
        as_of=as_of,
        reason="a test",
        who="pytest",
        gate=False,
    )
    answer = run_retraining(job, settings)
    workspace = job.workspace(settings.home)
    evaluation: Evaluation = read_evaluation(workspace)
    version = ModelRegistry.of(settings).get(spec.name, answer["version"])
    return Trained(
        version, answer["alias"], read_fit(workspace), evaluation.metrics, evaluation.decision
    )


@pytest.fixture(scope="module")
def first(settings: Settings, spec: ModelSpec) -> Trained:
    return train(settings, spec, AS_OF)


def test_the_first_version_becomes_champion_with_everything_recorded(
    first: Trained, registry: ModelRegistry, spec: ModelSpec
) -> None:
    champion = registry.by_alias(spec.name, CHAMPION)
    assert champion is not None
    assert (champion.version, first.alias) == (first.version.version, CHAMPION)
    for tag in (
        "data_sha256",
        "feature_sha256",
        "model_sha256",
        "spec_sha256",
        "git_commit",
        "lock_sha256",
        "seed",
        "as_of",
        "bundle_sha256",
    ):
        assert getattr(champion.tags, tag)
    run = tracking_client(registry).get_run(champion.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["pr_auc"] == pytest.approx(first.metrics["pr_auc"])
    assert run.data.metrics["rows_holdout"] == first.fit.rows["holdout"]
    assert run.data.metrics["support_holdout"] == first.fit.support["holdout"]
    assert run.data.params["threshold"] == str(first.decision["threshold"])
    assert run.data.params["estimator.learning_rate"] == str(
        spec.training.estimator.parameters["learning_rate"]
    )
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
        "model/trees.txt",
        "model/input_example.json",
    } <= logged
    card = tracking_client(registry).get_model_version(spec.name, champion.version).description
    assert "| train |" in card
    assert str(champion.tags.data_sha256) in card


def test_a_version_says_which_spec_it_had_and_which_lake_files_its_champion_needs(
    first: Trained, registry: ModelRegistry, spec: ModelSpec, lake: Lake
) -> None:
    assert first.version.tags.spec_sha256 == spec_hash(spec)
    ((champion, manifest),) = champions_of(registry, {spec.name: spec}).items()
    assert champion == f"{spec.name}@{first.version.version}"
    assert manifest.streams[TRANSACTIONS]
    assert {lake.root / file.path for file in manifest.streams[TRANSACTIONS]} <= set(
        lake.files(TRANSACTIONS)
    )


def test_it_learned_what_the_shop_has_to_teach(first: Trained) -> None:
    assert first.metrics["pr_auc"] > 0.5  # a random score gets 0.05
    assert sum(first.fit.rows.values()) == pytest.approx(24 * 120, rel=0.05)
    assert first.fit.parity_difference <= PARITY_TOLERANCE


def test_the_bundle_is_what_a_server_needs(
    first: Trained, registry: ModelRegistry, spec: ModelSpec, tmp_path: Path
) -> None:
    directory = registry.download(first.version, tmp_path)
    bundle, scorer = load_bundle(directory, first.version.tags.bundle_sha256)
    assert bundle.model == spec.name
    assert bundle.trained_as_of == AS_OF
    assert bundle.decision == first.decision
    assert bundle.decision.keys() == {"threshold"}
    threshold = bundle.decision["threshold"]
    assert float(np.float32(threshold)) == threshold, "one of the scores as they are served"
    assert tuple(bundle.stored_defaults) == stored_features(spec.feature_service)
    parity = msgspec.json.decode((directory / PARITY_FILE).read_bytes(), type=Parity)
    assert scorer.score(np.asarray(parity.inputs[:1], dtype=np.float32)).shape == (1,)
    profile = ReferenceProfile.read(directory / PROFILE_FILE)
    assert tuple(profile.features) == bundle.features
    assert profile.rows == first.fit.rows["holdout"]
    assert profile.training is not None
    assert profile.training.rows == sum(first.fit.rows.values())
    positives, examples = sum(first.fit.support.values()), sum(first.fit.rows.values())
    assert profile.training.label_mean == pytest.approx(positives / examples)
    assert bundle.parameters["estimator.learning_rate"] == "0.05"
    assert (
        bundle.parameters.items()
        <= tracking_client(registry).get_run(first.version.run_id).data.params.items()
    )


def test_reference_rows_are_the_holdouts_and_score_as_they_say(
    first: Trained, registry: ModelRegistry, tmp_path: Path
) -> None:
    rows = pl.read_parquet(
        registry.download_run_artifact(
            first.version, "record/reference_rows.parquet", tmp_path / "rows"
        )
    )
    bundle, scorer = load_bundle(registry.download(first.version, tmp_path / "bundle"))
    assert tuple(rows.columns) == (*bundle.features, "score")
    assert rows.height == first.fit.rows["holdout"]  # fewer than the sample's size
    inputs = np.ascontiguousarray(rows.select(bundle.features).to_numpy(), dtype=np.float32)
    np.testing.assert_allclose(scorer.score(inputs), rows["score"], atol=PARITY_TOLERANCE)


def test_any_mlflow_client_can_load_the_champion_and_gets_trainings_scores(
    first: Trained, registry: ModelRegistry, spec: ModelSpec, tmp_path: Path
) -> None:
    parity = msgspec.json.decode(
        (registry.download(first.version, tmp_path) / PARITY_FILE).read_bytes(), type=Parity
    )
    import mlflow  # takes seconds, and each of the suite's workers imports every module of tests

    with tracking_uri(registry.url):
        model = mlflow.pyfunc.load_model(f"models:/{spec.name}@{CHAMPION}")
    answer = model.predict(np.asarray(parity.inputs, dtype=np.float32))
    np.testing.assert_allclose(
        np.asarray(answer["probabilities"])[:, 1], parity.scores, atol=PARITY_TOLERANCE
    )


def test_a_version_can_be_rebuilt_to_the_byte(
    first: Trained, lake: Lake, registry: ModelRegistry, tmp_path: Path
) -> None:
    comparisons = reproduce(registry, lake, first.version, tmp_path / "again")
    assert [c.what for c in comparisons] == [
        "data_sha256",
        "feature_sha256",
        "model_sha256",
        "spec_sha256",
        "git_commit",
        "lock_sha256",
        "seed",
        "as_of",
        "metrics",
    ]
    # The commit may change during a test, when a developer edits the checkout. Nothing else may.
    assert [
        c for c in comparisons if not c.agrees and c.what not in ("git_commit", "lock_sha256")
    ] == []
    assert reproduced(comparisons)


def test_a_second_version_becomes_challenger_and_is_told_apart(
    first: Trained,
    settings: Settings,
    lake: Lake,
    registry: ModelRegistry,
    spec: ModelSpec,
    tmp_path: Path,
) -> None:
    """Rebuild from the second run's record.

    The first version's data, metrics and model then differ.
    """
    earlier = train(settings, spec, AS_OF - timedelta(days=3))
    assert earlier.alias == CHALLENGER
    challenger, champion = (
        registry.by_alias(spec.name, CHALLENGER),
        registry.by_alias(spec.name, CHAMPION),
    )
    assert challenger is not None
    assert champion is not None
    assert (challenger.version, champion.version) == (
        earlier.version.version,
        first.version.version,
    )
    mixed = replace(first.version, run_id=earlier.version.run_id)
    comparisons = reproduce(registry, lake, mixed, tmp_path / "again")
    assert {c.what for c in comparisons if not c.agrees} >= {
        "data_sha256",
        "metrics",
        "model_sha256",
    }
    assert not reproduced(comparisons)


def test_a_changed_lake_file_is_named_and_nothing_is_rebuilt(
    first: Trained, lake: Lake, registry: ModelRegistry, tmp_path: Path
) -> None:
    changed = Lake(tmp_path / "lake")
    shutil.copytree(lake.root, changed.root)
    file = changed.files(TRANSACTIONS)[20]
    frame = pl.read_parquet(file)
    frame.with_columns(pl.col("amount") + 0.01).write_parquet(file)
    with pytest.raises(LakeChangedError, match=str(file.relative_to(changed.root))):
        reproduce(registry, changed, first.version, tmp_path / "again")
    assert not (tmp_path / "again" / MODEL_FILE).exists()


def test_a_training_that_is_asked_for_again_is_the_same_version(
    first: Trained, settings: Settings, registry: ModelRegistry, spec: ModelSpec
) -> None:
    versions = len(registry.versions(spec.name))
    again = train(settings, spec, AS_OF)
    assert (again.version.version, again.alias, again.metrics) == (
        first.version.version,
        CHAMPION,
        first.metrics,
    )
    assert len(registry.versions(spec.name)) == versions


def test_corrupt_data_is_refused_and_nothing_is_registered(
    settings: Settings, lake: Lake, registry: ModelRegistry, tmp_path: Path
) -> None:
    corrupt = Lake(tmp_path / "lake")
    shutil.copytree(lake.root, corrupt.root)
    file = corrupt.files(TRANSACTIONS)[20]
    pl.read_parquet(file).with_columns(pl.lit(-1.0).alias("amount")).write_parquet(file)
    spec = small_spec("retraining_corrupt")
    with pytest.raises(
        InvalidDataError,
        match=(
            r"transactions.amount: expected 0 to 1e\+06 \(feature_repo/shop/request.py:\d+\), found"
            r" '-1.0' \(rows: 1"
        ),
    ):
        train(settings.model_copy(update={"home": tmp_path}), spec, AS_OF)
    assert registry.versions(spec.name) == []
    assert tracking_client(registry).get_experiment_by_name(spec.name) is None


def test_a_feature_that_knows_the_label_too_well_stops_the_training(
    settings: Settings, registry: ModelRegistry
) -> None:
    """The small shop's amounts have an information value of 4. Only its own spec allows that."""
    spec = with_checks(small_spec("retraining_leak"), information_value=3)
    with pytest.raises(
        InvalidDataError,
        match=r"amount: expected an information value of at most 3 .* found 3\.\d\d: it may know",
    ):
        train(settings, spec, AS_OF)
    assert registry.versions(spec.name) == []


def test_without_mlflow_training_says_so_and_leaves_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.retraining.OTHER_RETRIES", 0)
    nowhere = settings.model_copy(update={"mlflow_url": f"http://127.0.0.1:{free_port()}"})
    with pytest.raises(RegistryUnavailableError, match="MLflow did not answer"):
        train(nowhere, small_spec("retraining_alone"), AS_OF)


@contextmanager
def tracking_uri(url: str) -> Iterator[None]:
    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(url)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)
        os.environ.pop("MLFLOW_TRACKING_URI", None)
