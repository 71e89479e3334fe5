"""Faults of versions, on a real MLflow: what a colleague did is there, until its undo."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from dojo.actions.desk import Desk
from dojo.core.registry.bundle import MODEL_FILE, OnnxScorer, load_bundle
from dojo.core.registry.versions import ModelRegistry
from dojo.core.settings import load_settings
from dojo.core.state.audit import AuditTrail
from dojo.core.state.clock import RedisWorldClock
from dojo.core.state.rollouts import Stage
from dojo.drills.faults.fault import FaultRefusedError, Receipt
from dojo.drills.faults.versions.moved_rollout import MovedRollout
from dojo.drills.faults.versions.spoiled_version import SpoiledVersion
from pipelines.release.tracking import tracking_client
from tests.support.bundles import FEATURES, make_bundle, register_champion
from tests.support.servers import MlflowServer, RedisServer

pytestmark = pytest.mark.integration

MODEL = "fraud_detection"
NOW = datetime(2025, 1, 6, 12, tzinfo=UTC)
WEEKEND = FEATURES.index("is_weekend")


@pytest.fixture
def desk(tmp_path: Path, redis_server: RedisServer, mlflow_server: MlflowServer) -> Iterator[Desk]:
    """A platform with one version, which is the champion."""
    settings = load_settings(
        home=tmp_path / "home", redis_url=redis_server.url, mlflow_url=mlflow_server.url
    )
    desk = Desk.of(settings)
    desk.redis.flushdb()
    RedisWorldClock(desk.redis).set(NOW, 0)
    client = tracking_client(desk.registry)
    if client.get_experiment_by_name(MODEL) is None:
        client.create_experiment(MODEL)
    register_champion(desk.registry, tmp_path / "v1", make_bundle(tmp_path / "v1"))
    yield desk
    client.delete_registered_model(MODEL)


def spoiled(kind: str, why: str = "better on weekends", amount: float = 0) -> SpoiledVersion:
    return SpoiledVersion.model_validate(
        {
            "kind": "spoiled_version",
            "model": MODEL,
            "spoiled": kind,
            "column": "is_weekend",
            "amount": amount,
            "who": "t.brandt",
            "why": why,
        }
    )


def champion(registry: ModelRegistry) -> str:
    found = registry.by_alias(MODEL, "champion")
    assert found is not None
    return found.version


def scores_of(desk: Desk, version: str, directory: Path, rows: np.ndarray) -> np.ndarray:
    """Load a version as a server does, with its seal, hashes and check, and score rows."""
    found = desk.registry.get(MODEL, version)
    bundle = desk.registry.download(found, directory / version)
    load_bundle(bundle, desk.registry.sealed_sha256(found))
    return OnnxScorer(bundle / MODEL_FILE).score(rows)


def rows() -> np.ndarray:
    found = np.random.default_rng(1).random((20, len(FEATURES))).astype(np.float32)
    found[:, WEEKEND] = np.arange(20) % 2
    return found


def test_a_spoiled_version_is_loaded_promoted_and_taken_back(desk: Desk, tmp_path: Path) -> None:
    written: list[Receipt] = []
    fault = spoiled("empty")
    fault.inject(desk.settings, written.append)
    assert written == [{"from": "1", "version": ""}, {"from": "1", "version": "2"}]
    assert champion(desk.registry) == "2"
    told = AuditTrail(desk.redis).entries()
    assert {(one.who, one.why) for one in told} == {("t.brandt", "better on weekends")}
    found = scores_of(desk, "2", tmp_path, rows())
    assert np.array_equal(np.isnan(found), rows()[:, WEEKEND] > 0)
    assert np.allclose(found[::2], scores_of(desk, "1", tmp_path, rows())[::2])
    assert fault.left(desk.settings, written[-1]) == f"version 2 of {MODEL} as champion"
    for _ in range(2):
        fault.undo(desk.settings, written[-1])
        assert fault.left(desk.settings, written[-1]) == ""
        assert champion(desk.registry) == "1"


@pytest.mark.parametrize(("kind", "amount"), [("slow", 0.02), ("large", 5)])
def test_other_spoiled_versions_score_as_before(
    desk: Desk, tmp_path: Path, kind: str, amount: float
) -> None:
    spoiled(kind, amount=amount).inject(desk.settings, lambda _: None)
    before, after = (scores_of(desk, number, tmp_path, rows()) for number in ("1", "2"))
    assert np.array_equal(before, after)


def test_without_a_reason_a_version_gets_no_role(desk: Desk) -> None:
    written: list[Receipt] = []
    fault = spoiled("empty", why="")
    fault.inject(desk.settings, written.append)
    assert champion(desk.registry) == "1"
    assert fault.left(desk.settings, written[-1]) == ""


def test_a_column_that_the_model_lacks_is_refused_and_registers_nothing(desk: Desk) -> None:
    fault = spoiled("empty").model_copy(update={"column": "shoe_size"})
    with pytest.raises(FaultRefusedError, match="shoe_size"):
        fault.inject(desk.settings, lambda _: None)
    assert len(desk.registry.versions(MODEL)) == 1


def moved(step: str) -> MovedRollout:
    return MovedRollout.model_validate(
        {"kind": "moved_rollout", "model": MODEL, "step": step, "who": "k.meyer", "why": "weekly"}
    )


def test_a_rollout_of_the_newest_version_begins_and_is_aborted(desk: Desk) -> None:
    with pytest.raises(FaultRefusedError, match="no second version"):
        moved("start").inject(desk.settings, lambda _: None)
    spoiled("empty", why="").inject(desk.settings, lambda _: None)
    written: list[Receipt] = []
    fault = moved("start")
    fault.inject(desk.settings, written.append)
    found = desk.rollouts.get(MODEL)
    assert found is not None
    assert (found.version, found.active, found.stage) == ("2", True, Stage.SHADOW)
    assert fault.left(desk.settings, written[-1]) == f"the rollout of version 2 of {MODEL}"
    fault.undo(desk.settings, written[-1])
    asked = desk.rollouts.get(MODEL)
    assert asked is not None
    assert asked.request is not None
    assert (asked.request.action, asked.request.who) == ("abort", "k.meyer")


def test_a_promotion_is_asked_for_as_the_command_does(desk: Desk) -> None:
    spoiled("empty", why="").inject(desk.settings, lambda _: None)
    moved("start").inject(desk.settings, lambda _: None)
    moved("promote").inject(desk.settings, lambda _: None)
    found = desk.rollouts.get(MODEL)
    assert found is not None
    assert found.request is not None
    assert (found.request.action, found.request.why) == ("promote", "weekly")
