"""The DAGs as Airflow reads them: their list, their tasks, and the policy of each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

SPEC = yaml.safe_load(Path("models/fraud_detection.yaml").read_text())

STEPS = ["collect", "validate", "build_dataset", "train", "evaluate", "compare", "decide"]
SCORED_AT_NIGHT, BATCH = "basket_value", {"after": "2h", "keep_online": "48h"}
BRANCHES = {"register", "keep_champion", "alert_regression"}


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """List the DAGs with two models, so that generated DAGs appear."""
    directory = tmp_path_factory.mktemp("models")
    for name, owner in (("fraud_detection", "payments-risk"), ("basket_value", "shop")):
        batch = {"batch": BATCH} if name == SCORED_AT_NIGHT else {}
        (directory / f"{name}.yaml").write_text(
            yaml.safe_dump({**SPEC, **batch, "name": name, "owner": owner})
        )
    wrong = {**SPEC, "name": "broken", "owner": "storefront", "task": "prophecy"}
    (directory / "broken.yaml").write_text(yaml.safe_dump(wrong))
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DOJO_", "AIRFLOW"))
    }
    read = subprocess.run(
        [sys.executable, "-m", "tests.support.dags_inventory"],
        env={**clean, "DOJO_MODELS_DIR": str(directory)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert read.returncode == 0, read.stderr
    found: dict[str, Any] = json.loads(read.stdout)
    return found


@pytest.fixture(scope="module")
def dags(inventory: dict[str, Any]) -> dict[str, Any]:
    """Return the DAGs of right specs."""
    found: dict[str, Any] = inventory["dags"]
    return {name: dag for name, dag in found.items() if name != "retrain_broken"}


def tasks(dags: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for dag_id, dag in dags.items():
        for task_id, task in dag["tasks"].items():
            yield f"{dag_id}.{task_id}", task


def test_every_file_is_read_and_only_a_model_that_asks_is_scored_at_night(
    inventory: dict[str, Any],
) -> None:
    assert inventory["import_errors"] == {}
    assert sorted(inventory["dags"]) == [
        "materialize_features",
        "retrain_basket_value",
        "retrain_broken",
        "retrain_fraud_detection",
        "score_basket_value",
    ]


def test_a_retraining_is_a_chain_that_ends_in_one_of_its_branches(dags: dict[str, Any]) -> None:
    found = {
        name: task["downstream"] for name, task in dags["retrain_fraud_detection"]["tasks"].items()
    }
    chain = {step: [following] for step, following in pairwise(STEPS)}
    ends = {
        "keep_champion": [],
        "alert_regression": [],
        "register": ["start_rollout"],
        "start_rollout": [],
    }
    # `compare` also gives start_rollout the gate's answer.
    assert found == {
        **chain,
        "compare": ["decide", "start_rollout"],
        "decide": sorted(BRANCHES),
        **ends,
    }
    assert list(dags["materialize_features"]["tasks"]) == ["materialize"]


def test_data_collection_is_tried_four_times_and_waits_longer_each_time(
    dags: dict[str, Any],
) -> None:
    collect = dags["retrain_fraud_detection"]["tasks"]["collect"]
    assert (collect["retries"], collect["backoff"]) == (3, 2.0)


def test_every_task_has_an_owner_retries_with_backoff_and_a_timeout(dags: dict[str, Any]) -> None:
    for name, task in tasks(dags):
        assert task["owner"] not in ("", "airflow"), name
        assert task["retries"] >= 2, name
        assert task["backoff"] > 1, name
        assert 0 < task["delay"] <= 60, name
        assert 0 < task["timeout"] <= 1800, name


def test_every_dag_says_who_is_told_and_how_it_is_operated(dags: dict[str, Any]) -> None:
    for name, dag in dags.items():
        assert dag["on_failure"], name
        assert not dag["catchup"], name
        assert dag["schedule"] is None, f"{name}: world time is not Airflow's"
        assert dag["max_active_runs"] == 1, name
        assert dag["owner"] in dag["tags"], name
        # A run's limit is at least its longest task's limit.
        assert max(task["timeout"] for task in dag["tasks"].values()) < dag["timeout"] <= 3600, name
        for heading in ("**When", "**Parameters.**", "**When it fails.**"):
            assert heading in dag["doc_md"], name


def test_a_retrainings_owner_is_its_specs(dags: dict[str, Any]) -> None:
    assert dags["retrain_basket_value"]["owner"] == "shop"
    assert {task["owner"] for task in dags["retrain_basket_value"]["tasks"].values()} == {"shop"}
    assert {"basket_value", "retraining"} <= set(dags["retrain_basket_value"]["tags"])


def test_parameters_are_typed(dags: dict[str, Any]) -> None:
    retraining = dags["retrain_fraud_detection"]["params"]
    assert {name: schema["type"] for name, schema in retraining.items()} == {
        "as_of": ["null", "string"],
        "dry_run": "boolean",
        "reason": "string",
    }
    assert retraining["as_of"]["format"] == "date-time"
    assert set(dags["materialize_features"]["params"]) == {"as_of", "reason"}


def test_reading_the_files_costs_little(inventory: dict[str, Any]) -> None:
    """Airflow reads the files every 30 s, so heavy imports belong into tasks.

    It takes 0.2 s of a processor.
    """
    assert inventory["seconds"] < 3
    assert all(dag["bytes"] < 60_000 for dag in inventory["dags"].values())


def test_a_model_with_a_wrong_spec_has_a_dag_that_says_why(inventory: dict[str, Any]) -> None:
    dag = inventory["dags"]["retrain_broken"]
    assert list(dag["tasks"]) == ["wrong_spec"]
    assert "broken.yaml" in dag["doc_md"]
    assert "task: must be one of" in dag["doc_md"]
    assert (dag["owner"], dag["schedule"], dag["on_failure"]) == ("storefront", None, True)
