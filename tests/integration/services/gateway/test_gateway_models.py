"""The serving version: switches, refusals and restarts, with a real MLflow."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dojo.core.registry.bundle import MODEL_FILE, PARITY_FILE, load_bundle, write_bundle
from dojo.core.registry.versions import CHAMPION
from pipelines.release.tracking import tracking_client
from tests.integration.services.gateway.conftest import StartGateway
from tests.support.bundles import make_bundle, register_champion
from tests.support.gateways import Callers, GatewayServer
from tests.support.registries import sealed_registry
from tests.support.servers import MlflowServer, RedisServer, free_port, wait_until

pytestmark = pytest.mark.integration

INSTANCE = {"customer_id": "c1", "merchant_id": "m1", "amount": 5.0}


def models_dir(directory: Path, model: str) -> Path:
    """Copy the shipped spec under a test's own name, because tests share one MLflow."""
    specs = directory / "models"
    specs.mkdir()
    text = (
        Path("models/fraud_detection.yaml")
        .read_text()
        .replace("name: fraud_detection", f"name: {model}", 1)
    )
    (specs / f"{model}.yaml").write_text(text)
    return specs


def test_a_model_without_a_version_is_named_and_keeps_nobody_elses_callers_waiting(
    mlflow_server: MlflowServer,
    online_redis: RedisServer,
    start_gateway: StartGateway,
    tmp_path: Path,
) -> None:
    specs = models_dir(tmp_path, "trained")
    text = (specs / "trained.yaml").read_text()
    (specs / "never_trained.yaml").write_text(
        text.replace("name: trained", "name: never_trained", 1)
    )
    registry = sealed_registry(mlflow_server.url)
    (specs / "broken.yaml").write_text("name: broken\ntask: prophecy\n")
    gateway = start_gateway(online_redis.url, mlflow_server.url, cached=False, models_dir=specs)
    assert gateway.request("GET", "/readyz")[0] == 503  # no version serves at all
    register_champion(registry, tmp_path / "b1", make_bundle(tmp_path / "b1", "trained"), "trained")
    wait_until(lambda: serving(gateway, "trained") == "1", 60, "the champion is served")
    wait_until(
        lambda: gateway.request("GET", "/readyz")[0] == 200,
        20,
        "the other model is known to have no version",
    )
    models = gateway.request("GET", "/readyz")[1]["models"]
    assert (models["never_trained"]["version"], models["never_trained"]["registry"]) == (
        None,
        "no version is champion yet",
    )
    assert gateway.request("GET", "/v2/health/ready")[0] == 200
    assert gateway.request("GET", "/v2/models/never_trained/ready")[0] == 503
    assert gateway.predict(INSTANCE, model="never_trained")[0]["degraded"] == ["model_unavailable"]

    # A third model has a wrong spec. It is named, and refused alone.
    assert "broken.yaml:2: task: must be one of" in models["broken"]["spec"]
    for path in ("/v1/models/broken:predict", "/v2/models/broken/infer"):
        status, problem, _ = gateway.request("POST", path, {"instances": [INSTANCE]})
        assert (status, problem["type"]) == (503, "urn:mlops-dojo:problem:wrong-spec")
        assert "broken.yaml:2: task: must be one of" in problem["detail"]
    assert gateway.request("POST", "/v1/models/brok:predict", {})[0] == 404
    assert gateway.metric("dojo_spec_wrong", model="broken") == 1
    assert gateway.metric("dojo_spec_wrong", model="trained") == 0
    assert gateway.metric("dojo_gateway_requests_total", code="503", model="broken") == 2


def serving(gateway: GatewayServer, model: str) -> str:
    return gateway.predict(INSTANCE, model=model)[0]["version"]


def test_the_champion_is_served_switched_under_load_and_kept_while_mlflow_is_down(
    mlflow_server: MlflowServer,
    online_redis: RedisServer,
    start_gateway: StartGateway,
    tmp_path: Path,
) -> None:
    model = "switching"
    specs = models_dir(tmp_path, model)
    registry = sealed_registry(mlflow_server.url)
    gateway = start_gateway(online_redis.url, mlflow_server.url, cached=False, models_dir=specs)

    # Without a registered version the gateway is not ready, and the spec's fallback answers.
    status, readiness, _ = gateway.request("GET", "/readyz")
    assert status == 503
    assert readiness["models"][model]["version"] is None
    answer = gateway.predict(INSTANCE, model=model)[0]
    assert (answer["score"], answer["version"], answer["flagged"]) == (0.0, "0", False)
    assert answer["degraded"] == ["model_unavailable"]

    register_champion(registry, tmp_path / "b1", make_bundle(tmp_path / "b1", model), model)
    wait_until(lambda: serving(gateway, model) == "1", 60, "the first champion is served")
    assert gateway.request("GET", "/readyz")[0] == 200

    with Callers(gateway.port, model=model) as callers:
        register_champion(
            registry, tmp_path / "b2", make_bundle(tmp_path / "b2", model, seed=2), model
        )
        wait_until(lambda: callers.calls[-1].version == "2", 120, "the new champion is served")
        calls = callers.stop()
    assert not callers.dropped
    assert {call.status for call in calls} == {200}
    assert {call.version for call in calls} == {"1", "2"}
    assert gateway.metric("dojo_model_info", model=model, version="2") == 1
    assert gateway.metric("dojo_model_info", model=model, version="1") == 0

    # A restart without MLflow serves the last verified version at once.
    assert gateway.stop() == 0
    restarted = start_gateway(
        online_redis.url, f"http://127.0.0.1:{free_port()}", cached=False, models_dir=specs
    )
    assert serving(restarted, model) == "2"
    wait_until(
        lambda: restarted.metric("dojo_gateway_registry_errors_total", model=model) > 0,
        60,
        "it has noticed that MLflow is away",
    )
    assert serving(restarted, model) == "2"
    assert restarted.request("GET", "/readyz")[0] == 200
    restarted.stop()

    # A damaged cache is refused too. The previous version answers until the champion is downloaded
    # again.
    flip_a_byte(gateway.home / "gateway" / "models" / model / "2" / MODEL_FILE)
    again = start_gateway(online_redis.url, mlflow_server.url, cached=False, models_dir=specs)
    assert again.metric("dojo_gateway_model_rejected_total", model=model) == 1
    assert serving(again, model) == "1"
    wait_until(lambda: serving(again, model) == "2", 60, "the champion is downloaded again")


def test_a_version_that_mlflow_alone_vouches_for_is_never_served(
    mlflow_server: MlflowServer,
    online_redis: RedisServer,
    start_gateway: StartGateway,
    tmp_path: Path,
) -> None:
    """A caller who reaches MLflow's port registers a version.

    The caller also rewrites the record of the platform's version.
    """
    model = "forged"
    specs = models_dir(tmp_path, model)
    registry, client = (
        sealed_registry(mlflow_server.url),
        tracking_client(sealed_registry(mlflow_server.url)),
    )
    good = register_champion(
        registry, tmp_path / "good", make_bundle(tmp_path / "good", model), model
    )
    gateway = start_gateway(online_redis.url, mlflow_server.url, cached=False, models_dir=specs)
    wait_until(lambda: serving(gateway, model) == "1", 60, "the platform's version is served")

    def rejected(server: GatewayServer) -> float:
        return server.metric("dojo_gateway_model_rejected_total", model=model)

    sha256 = make_bundle(tmp_path / "foreign", model, seed=2)
    run = client.create_run("0")
    client.log_artifacts(run.info.run_id, str(tmp_path / "foreign"), "bundle")
    source, tags = (
        f"{run.info.artifact_uri}/bundle",
        {"bundle_sha256": sha256, "seal": good.tags.seal or ""},
    )
    foreign = registry.api.create_model_version(model, source, run.info.run_id, tags)
    registry.set_alias(model, CHAMPION, foreign.version)
    wait_until(lambda: rejected(gateway) >= 1, 120, "it is rejected")
    assert serving(gateway, model) == "1"

    registry.set_alias(model, CHAMPION, "1")
    client.log_artifacts(good.run_id, str(tmp_path / "foreign"), "bundle")
    registry.api.set_model_version_tag(model, "1", "bundle_sha256", sha256)
    fresh = GatewayServer(tmp_path / "fresh", online_redis.url, mlflow_server.url, models_dir=specs)
    (tmp_path / "fresh").mkdir()
    fresh.start()
    try:
        wait_until(lambda: rejected(fresh) >= 1, 60, "the changed record is not relied on")
        assert fresh.predict(INSTANCE, model=model)[0]["degraded"] == ["model_unavailable"]
        assert serving(gateway, model) == "1", "what was verified before serves on"
    finally:
        fresh.stop()


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def test_a_version_that_fails_verification_is_never_served(
    mlflow_server: MlflowServer,
    online_redis: RedisServer,
    start_gateway: StartGateway,
    tmp_path: Path,
) -> None:
    model = "guarded"
    specs = models_dir(tmp_path, model)
    registry = sealed_registry(mlflow_server.url)
    register_champion(registry, tmp_path / "good", make_bundle(tmp_path / "good", model), model)
    gateway = start_gateway(online_redis.url, mlflow_server.url, cached=False, models_dir=specs)
    wait_until(lambda: serving(gateway, model) == "1", 60, "the good version is served")

    def rejected() -> float:
        return gateway.metric("dojo_gateway_model_rejected_total", model=model)

    with Callers(gateway.port, callers=1, model=model) as callers:
        # One byte of the model changed after it was hashed.
        shutil.copytree(tmp_path / "good", tmp_path / "corrupt")
        sha256 = make_bundle(tmp_path / "corrupt", model, seed=2)
        flip_a_byte(tmp_path / "corrupt" / MODEL_FILE)
        register_champion(registry, tmp_path / "corrupt", sha256, model)
        wait_until(lambda: rejected() == 1, 120, "the corrupt version is rejected")

        # Hashes agree, but the model gives other scores than in training. Two versions' files were
        # mixed up.
        make_bundle(tmp_path / "other", model, seed=3)
        make_bundle(tmp_path / "mixed", model, seed=4)
        shutil.copy(tmp_path / "other" / PARITY_FILE, tmp_path / "mixed" / PARITY_FILE)
        sha256 = write_bundle(tmp_path / "mixed", load_bundle(tmp_path / "good")[0])
        register_champion(registry, tmp_path / "mixed", sha256, model)
        wait_until(lambda: rejected() == 2, 120, "the version without parity is rejected")

        # A bundle of another model, with its hash tag.
        make_bundle(tmp_path / "foreign", "someone_elses")
        register_champion(
            registry, tmp_path / "foreign", write_bundle_again(tmp_path / "foreign"), model
        )
        wait_until(lambda: rejected() == 3, 120, "another model's bundle is rejected")
        calls = callers.stop()
    assert {(call.status, call.version) for call in calls} == {(200, "1")}
    assert not callers.dropped
    wait_until(
        lambda: gateway.health()["models"][model]["rejected_version"] == "4",
        10,
        "the health page names the last rejected version",
    )
    assert "parity" in gateway.log.read_text()

    register_champion(registry, tmp_path / "b5", make_bundle(tmp_path / "b5", model, seed=5), model)
    wait_until(lambda: serving(gateway, model) == "5", 120, "the next good version is served")


def write_bundle_again(directory: Path) -> str:
    """Write the bundle again. Return its SHA-256, as training would tag it."""
    return write_bundle(directory, load_bundle(directory)[0])
