"""Small real model bundles for tests and benches: LightGBM trained on noise with a signal, converted to ONNX."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np

from dojo.bundle import BUNDLE_HASH_TAG, MODEL_FILE, PARITY_FILE, PROFILE_FILE, Bundle, Parity, write_bundle
from dojo.registry import CHAMPION, ModelRegistry, Version
from feature_repo.catalog import SERVICES, VIEWS

SERVICE = "fraud_detection_v1"
TRAINED_AS_OF = datetime(2018, 6, 1, tzinfo=UTC)


def make_bundle(directory: Path, model: str = "fraud_detection", trees: int = 20, seed: int = 1, threshold: float = 0.5) -> str:
    """Train and write one bundle into `directory`. Returns the SHA-256 of its bundle.json."""
    import lightgbm
    from onnxmltools import convert_lightgbm
    from onnxmltools.convert.common.data_types import FloatTensorType

    features = SERVICES[SERVICE]
    generator = np.random.default_rng(seed)
    inputs = generator.lognormal(1.0, 1.0, (2000, len(features))).astype(np.float32)
    signal = inputs[:, features.index("amount")] * inputs[:, features.index("merchant_risk_7d")]
    labels = (signal + generator.normal(0, 1, len(inputs)) > np.quantile(signal, 0.9)).astype(int)
    classifier = lightgbm.LGBMClassifier(n_estimators=trees, num_leaves=15, random_state=seed, n_jobs=1, verbose=-1)
    classifier.fit(inputs, labels)
    onnx = convert_lightgbm(classifier, initial_types=[("input", FloatTensorType([None, len(features)]))], zipmap=False)

    directory.mkdir(parents=True, exist_ok=True)
    (directory / MODEL_FILE).write_bytes(onnx.SerializeToString())
    sample = inputs[:50]
    parity = Parity(inputs=sample.tolist(), scores=classifier.predict_proba(sample)[:, 1].tolist())
    (directory / PARITY_FILE).write_bytes(msgspec.json.encode(parity))
    (directory / PROFILE_FILE).write_text(json.dumps({"rows": len(inputs)}))
    stored = [feature.name for view in VIEWS.values() for feature in view.features]
    return write_bundle(
        directory,
        Bundle(
            model=model,
            feature_service=SERVICE,
            features=features,
            stored_defaults={name: float(1 + at) for at, name in enumerate(stored)},
            threshold=threshold,
            trained_as_of=TRAINED_AS_OF,
            sha256={},
        ),
    )


def register_champion(registry: ModelRegistry, bundle: Path, sha256: str, model: str = "fraud_detection") -> Version:
    """Log a bundle to MLflow, register it, and make it the champion."""
    client = registry.client
    experiment = client.get_experiment_by_name("tests")
    experiment_id = experiment.experiment_id if experiment else client.create_experiment("tests")
    run = client.create_run(experiment_id)
    client.log_artifacts(run.info.run_id, str(bundle), "bundle")
    version = registry.register(model, run.info.run_id, f"{run.info.artifact_uri}/bundle", {BUNDLE_HASH_TAG: sha256})
    registry.set_alias(model, CHAMPION, version.version)
    return version


def cache_bundle(home: Path, bundle: Path, sha256: str, model: str = "fraud_detection", version: str = "1") -> None:
    """Put a bundle where a gateway with this home finds it at its start: as if an earlier run had verified it."""
    directory = home / "gateway" / "models" / model
    shutil.copytree(bundle, directory / version)
    (directory / "current.json").write_text(json.dumps({"versions": [{"version": version, "sha256": sha256}]}))
