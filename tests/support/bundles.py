"""Small real model bundles for tests and benches: LightGBM on noise with a signal, as ONNX."""

from __future__ import annotations

import copy
import json
import math
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import numpy as np
import onnx
from onnx import TensorProto

from dojo.core.categories import Categories, category_number, with_codes
from dojo.core.registry.bundle import (
    MODEL_FILE,
    PARITY_FILE,
    PROFILE_FILE,
    TREES_FILE,
    Bundle,
    OnnxScorer,
    Parity,
    write_bundle,
)
from dojo.core.registry.tags import VersionTags
from dojo.core.registry.versions import CHAMPION, ModelRegistry, Version
from feature_repo.catalog import SERVICES, VIEWS
from pipelines.release.tracking import tracking_client
from pipelines.training.convert import to_onnx

SERVICE = "fraud_detection_v1"
FEATURES = SERVICES[SERVICE].features
TRAINED_AS_OF = datetime(2018, 6, 1, tzinfo=UTC)
HALF: Mapping[str, float] = {"threshold": 0.5}  # a binary model's decision


def make_bundle(
    directory: Path,
    model: str = "fraud_detection",
    trees: int = 20,
    seed: int = 1,
    features: tuple[str, ...] = FEATURES,
    service: str = SERVICE,
    decision: Mapping[str, float] = HALF,
    categories: Categories | None = None,
) -> str:
    """Train and write one bundle into `directory`. Returns the SHA-256 of its bundle.json.

    Some rows have none of the known `categories`.
    """
    known = {name: tuple(names) for name, names in (categories or {}).items()}
    classifier, graph, inputs = _trained(trees, seed, features, known)
    return _written(
        directory, model, graph, inputs[:50], classifier, features, service, decision, known
    )


def make_failing_bundle(
    directory: Path, fails_from: float = 0.0, model: str = "fraud_detection", seed: int = 2
) -> str:
    """Write a bundle that passes its verification and fails for amounts from `fails_from` euros on.

    ONNX Runtime raises for each such row. 0.0 means every real request, because only its parity
    rows have amounts below. A Gather's index runs out of bounds, as in a graph exported with a too
    small table of categories. Returns the SHA-256 of its bundle.json.
    """
    classifier, graph, inputs = _trained(20, seed)
    reaches = _amount_reaches(_extensible(graph), fails_from)
    _append(graph, "Cast", [reaches], "position", to=TensorProto.INT64)
    _constant(graph, "one_entry", np.zeros(1, np.float32))
    _append(graph, "Gather", ["one_entry", "position"], "nothing")  # position 1 does not exist
    _append(graph, "Add", [_renamed_probabilities(graph), "nothing"], "probabilities")
    return _written(
        directory, model, graph, _with_amounts_below(inputs[:50], fails_from), classifier
    )


def make_slow_bundle(
    directory: Path,
    seconds: float,
    slow_from: float = 0.01,
    model: str = "fraud_detection",
    seed: int = 3,
) -> str:
    """Write a bundle with right scores that computes for about `seconds`.

    It is slow when a row's amount is `slow_from` euros or more. It is calibrated on this machine
    now, and a busy machine is slower. Parity rows (amounts below) are fast, so that it passes its
    verification. With `math.inf` seconds it never ends. Returns the SHA-256 of its bundle.json.
    """
    classifier, graph, inputs = _trained(20, seed)
    parity = _with_amounts_below(inputs[:50], slow_from)
    rounds = 2**62 if math.isinf(seconds) else max(1, round(seconds / _seconds_a_round(graph)))
    return _written(directory, model, _slowed(graph, rounds, slow_from), parity, classifier)


def make_network_bundle(directory: Path, model: str, width: int, layers: int) -> str:
    """Write a bundle with the scores of small trees that also computes a dense network.

    The network's `layers` matrices have `width` squared weights each. Its result is 0. Returns the
    SHA-256 of its bundle.json.
    """
    classifier, graph, inputs = _trained(20, 4)
    generator, hidden = np.random.default_rng(4), _extensible(graph).graph.input[0].name
    shapes = [(len(FEATURES), width), *[(width, width)] * layers]
    for at, shape in enumerate(shapes):
        weights = generator.normal(0, shape[0] ** -0.5, shape).astype(np.float32)
        product = _append(
            graph, "MatMul", [hidden, _constant(graph, f"weights_{at}", weights)], f"product_{at}"
        )
        hidden = _append(graph, "Relu", [product], f"hidden_{at}")
    last = _constant(graph, "last_weights", np.zeros((width, 1), np.float32))
    _append(graph, "MatMul", [hidden, last], "nothing")
    _append(graph, "Add", [_renamed_probabilities(graph), "nothing"], "probabilities")
    return _written(directory, model, graph, inputs[:50], classifier)


def _trained(
    trees: int,
    seed: int,
    features: tuple[str, ...] = FEATURES,
    categories: Categories = MappingProxyType({}),
) -> tuple[Any, Any, Any]:
    """Return a LightGBM classifier, its ONNX model, and its training rows.

    The rows have shape (2000, features), float32.
    """
    import lightgbm
    from onnxmltools import convert_lightgbm
    from onnxmltools.convert.common.data_types import FloatTensorType

    generator = np.random.default_rng(seed)
    inputs = generator.lognormal(1.0, 1.0, (2000, len(features))).astype(np.float32)
    telling = (
        ("amount", "merchant_risk_7d")
        if "merchant_risk_7d" in features
        else (features[0], features[-1])
    )
    signal = np.prod(inputs[:, [features.index(name) for name in telling]], axis=1)
    for name, known in categories.items():
        which = generator.integers(0, len(known) + 1, len(inputs))
        numbers = [category_number(one) for one in (*known, "nobody knows it")]
        inputs[:, features.index(name)] = np.array(numbers)[which]
        signal = signal * (1 + which)
    labels = (signal + generator.normal(0, 1, len(inputs)) > np.quantile(signal, 0.9)).astype(int)
    classifier = lightgbm.LGBMClassifier(
        n_estimators=trees, num_leaves=15, random_state=seed, n_jobs=1, verbose=-1
    )
    classifier.fit(with_codes(inputs, features, categories), labels)
    if categories:
        return classifier, to_onnx(classifier.booster_, features, categories), inputs
    types = [("input", FloatTensorType([None, len(features)]))]
    return classifier, convert_lightgbm(classifier, initial_types=types, zipmap=False), inputs


def _written(
    directory: Path,
    model: str,
    graph: Any,
    parity_inputs: Any,
    classifier: Any,
    features: tuple[str, ...] = FEATURES,
    service: str = SERVICE,
    decision: Mapping[str, float] = HALF,
    categories: dict[str, tuple[str, ...]] | None = None,
) -> str:
    coded = with_codes(parity_inputs, features, categories or {})
    directory.mkdir(parents=True, exist_ok=True)
    (directory / MODEL_FILE).write_bytes(graph.SerializeToString())
    parity = Parity(
        inputs=parity_inputs.tolist(), scores=classifier.predict_proba(coded)[:, 1].tolist()
    )
    (directory / PARITY_FILE).write_bytes(msgspec.json.encode(parity))
    (directory / PROFILE_FILE).write_text(json.dumps({"rows": 2000}))
    (directory / TREES_FILE).write_text(classifier.booster_.model_to_string())
    stored = [feature.name for view in VIEWS.values() for feature in view.features]
    return write_bundle(
        directory,
        Bundle(
            model=model,
            feature_service=service,
            features=features,
            stored_defaults={name: float(1 + at) for at, name in enumerate(stored)},
            decision=dict(decision),
            trained_as_of=TRAINED_AS_OF,
            sha256={},
            categories=categories or {},
        ),
    )


def _with_amounts_below(inputs: Any, limit: float) -> Any:
    """Return the rows with amounts that neither fail nor are slow.

    When `limit` is 0 they are negative, which no caller can send.
    """
    rows = inputs.copy()
    rows[:, FEATURES.index("amount")] = limit / 2 if limit > 0 else -1.0
    return rows


def _extensible(graph: Any) -> Any:
    """Declare newer operators.

    The converter declares the oldest, and the nodes added here need newer.
    """
    for opset in graph.opset_import:
        if opset.domain == "":
            opset.version = 15
    return graph


def _append(
    graph: Any, operator: str, inputs: Sequence[str], output: str, **attributes: Any
) -> str:
    graph.graph.node.append(onnx.helper.make_node(operator, list(inputs), [output], **attributes))
    return output


def _constant(graph: Any, name: str, values: Any) -> str:
    graph.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(values), name))
    return name


def _amount_reaches(graph: Any, limit: float) -> str:
    """Add a boolean of shape (n, 1) for amounts at or above `limit`, and return its name."""
    at = _constant(graph, "amount_column", np.array([FEATURES.index("amount")], np.int64))
    amount = _append(graph, "Gather", [graph.graph.input[0].name, at], "amount_of_row", axis=1)
    return _append(
        graph, "GreaterOrEqual", [amount, _constant(graph, "limit", np.float32(limit))], "reaches"
    )


def _renamed_probabilities(graph: Any) -> str:
    """Rename the trees' probabilities, so that a new node can give the graph's output."""
    for node in graph.graph.node:
        for at, output in enumerate(node.output):
            if output == "probabilities":
                node.output[at] = "probabilities_of_trees"
        for at, source in enumerate(node.input):
            if source == "probabilities":
                node.input[at] = "probabilities_of_trees"
    return "probabilities_of_trees"


def _slowed(graph: Any, rounds: int, slow_from: float) -> Any:
    """Return a copy that multiplies a matrix `rounds` times when any amount reaches `slow_from`."""
    slow = _extensible(copy.deepcopy(graph))
    helper, floats = onnx.helper, TensorProto.FLOAT
    _append(
        slow, "Cast", [_amount_reaches(slow, slow_from)], "reaches_number", to=TensorProto.INT64
    )
    _append(slow, "ReduceMax", ["reaches_number"], "any_reaches", keepdims=0)
    _append(slow, "Mul", ["any_reaches", _constant(slow, "rounds", np.int64(rounds))], "trips")
    width = 64
    _constant(slow, "matrix", np.eye(width, dtype=np.float32))
    _constant(slow, "start", np.zeros((width, width), np.float32))
    _constant(slow, "go_on", np.array(True))
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["before", "matrix"], ["after"]),
            helper.make_node("Identity", ["condition"], ["condition_out"]),
        ],
        "work",
        [
            helper.make_tensor_value_info("trip", TensorProto.INT64, []),
            helper.make_tensor_value_info("condition", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", floats, [width, width]),
        ],
        [
            helper.make_tensor_value_info("condition_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", floats, [width, width]),
        ],
    )
    _append(slow, "Loop", ["trips", "go_on", "start"], "work_done", body=body)
    # The result is 0, so the score waits for the work without changing.
    _append(slow, "ReduceMax", ["work_done"], "nothing", keepdims=0)
    _append(slow, "Add", [_renamed_probabilities(slow), "nothing"], "probabilities")
    return slow


def _seconds_a_round(graph: Any) -> float:
    rounds = 2000
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / MODEL_FILE
        file.write_bytes(_slowed(graph, rounds, 0.0).SerializeToString())
        scorer = OnnxScorer(file)
        rows = np.ones((1, len(FEATURES)), np.float32)
        scorer.score(rows)
        started = time.perf_counter()
        scorer.score(rows)
        return (time.perf_counter() - started) / rounds


def register_champion(
    registry: ModelRegistry, bundle: Path, sha256: str, model: str = "fraud_detection"
) -> Version:
    """Log a bundle to MLflow, register it, and make it the champion."""
    client = tracking_client(registry)
    experiment = client.get_experiment_by_name("tests")
    experiment_id = experiment.experiment_id if experiment else client.create_experiment("tests")
    run = client.create_run(experiment_id)
    client.log_artifacts(run.info.run_id, str(bundle), "bundle")
    version = registry.register(
        model, run.info.run_id, f"{run.info.artifact_uri}/bundle", VersionTags(bundle_sha256=sha256)
    )
    registry.set_alias(model, CHAMPION, version.version)
    return version


def cache_bundle(
    home: Path, bundle: Path, sha256: str, model: str = "fraud_detection", version: str = "1"
) -> None:
    """Put a bundle where a gateway with this home finds it at its start, as if verified earlier.

    Further versions come after the first. The first one serves while there is no route.
    """
    directory = home / "gateway" / "models" / model
    shutil.copytree(bundle, directory / version)
    index = directory / "current.json"
    versions = json.loads(index.read_text())["versions"] if index.exists() else []
    index.write_text(json.dumps({"versions": [*versions, {"version": version, "sha256": sha256}]}))
