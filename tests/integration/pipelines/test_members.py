"""The models of members, from a town's days to a score that the online store gives by customer."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from redis import Redis

from dojo.core.tasks.specs import load_spec
from feature_repo.online_scores import OnlineScores
from tests.support.servers import MlflowServer, RedisServer

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

MODELS = ("churn", "customer_value")
# 9:00 after the last day of history, which is the world's time (members_life.py).
MORNING = datetime(2025, 1, 6, 9, tzinfo=UTC)


@dataclass(frozen=True)
class Life:
    """What happened, and where the scores are."""

    report: dict[str, Any]
    redis: Redis
    models: Path
    environment: dict[str, str]


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory, mlflow_server: MlflowServer) -> Iterator[Life]:
    home = tmp_path_factory.mktemp("members")
    models = home / "models"
    models.mkdir()
    for file in Path("models").glob("*.yaml"):
        spec = yaml.safe_load(file.read_text())
        # 19 statements a day, and five weeks of them.
        spec["training"] |= {"minimum_rows": 500, "window": "35d", "holdout": "10d"}
        spec["training"]["estimator"]["parameters"]["n_estimators"] = 120
        (models / file.name).write_text(yaml.safe_dump(spec))
    redis = RedisServer(home)
    redis.start()
    environment = {
        **os.environ,
        "DOJO_HOME": str(home),
        "DOJO_MODELS_DIR": str(models),
        "DOJO_MODELS": ",".join(MODELS),
        "DOJO_REDIS_URL": redis.url,
        "DOJO_MLFLOW_URL": mlflow_server.url,
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.pipelines.members_life"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    report = json.loads(done.stdout.splitlines()[-1])
    yield Life(report, Redis.from_url(redis.url), models, environment)
    redis.stop()


def test_first_versions_pass_the_gate_and_the_same_ones_again_do_not(life: Life) -> None:
    found = life.report["models"]
    assert {model: (of["outcome"], of["alias"]) for model, of in found.items()} == dict.fromkeys(
        MODELS, ("first", "champion")
    )
    assert {of["again"] for of in found.values()} == {"keep"}


def test_versions_beat_the_baseline_and_other_members_features_lose_the_skill(life: Life) -> None:
    churn, value = (life.report["models"][model] for model in MODELS)
    pr_auc, mae = churn["metrics"]["pr_auc"], value["metrics"]["mae"]
    assert pr_auc > 1.3 * churn["baseline"]
    assert churn["permuted"] < churn["baseline"] + 0.3 * (pr_auc - churn["baseline"])
    assert mae < 0.6 * value["baseline"]
    assert value["permuted"] > value["baseline"]
    assert value["metrics"]["relative_bias"] < 0.2, "sums of answers are planned with"


@pytest.mark.parametrize("model", MODELS)
def test_each_member_of_the_night_has_a_score_online_until_the_next_statement(
    life: Life, model: str
) -> None:
    found, members = life.report["models"][model], life.report["night"]
    assert found["scored"] == found["online"] == len(members) > 10
    batch = load_spec(life.models / f"{model}.yaml").batch
    assert batch is not None
    scores = OnlineScores(life.redis, model)
    for member in members:
        score = scores.read(member, MORNING, batch.keep_online)
        assert score is not None
        assert 0 < (MORNING - score.world_time).total_seconds() < 36 * 3600
        next_statement = score.world_time.replace(month=2, day=4)  # 30 days later
        assert scores.read(member, next_statement, batch.keep_online) is not None
        assert scores.read(member, next_statement.replace(day=7), batch.keep_online) is None
    assert scores.read("C99999-0", MORNING, batch.keep_online) is None, "an unknown customer"


def test_the_command_shows_a_members_score_with_its_age_and_refuses_a_stranger(life: Life) -> None:
    def show(customer: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "dojo", "score", "show", "churn", customer]
        return subprocess.run(
            command, env=life.environment, capture_output=True, text=True, check=False
        )

    member = life.report["night"][0]
    assert re.match(
        rf"{member}: 0\.\d+ by churn@\d+, request of 2025-01-05 \d\d:\d\d, [01]\.\d days old",
        show(member).stdout,
    )
    stranger = show("C99999-0")
    assert stranger.returncode == 1
    assert "churn: no batch score of C99999-0 that still counts" in stranger.stderr


def test_the_world_makes_the_labels_that_features_read_for_models_that_do_not_run(
    life: Life,
) -> None:
    assert life.report["labels"] == ["churn", "customer_value", "delivery_time", "return_risk"]
