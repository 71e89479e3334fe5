"""Worlds that a stack can start with, and starts that are refused.

A replayed file is remembered, and never mixed with another world.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from dojo.stack.supervisor.identity import ProcessId
from tests.e2e.stack import Stack
from tests.support.servers import free_port, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

FIRST_DAY = datetime(2021, 3, 1)  # noqa: DTZ001 - as published: times without a zone
DAYS = 60


@pytest.fixture(scope="module")
def published_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write sixty days of 40 customers, with the public data set's column names."""
    rng = np.random.default_rng(1)
    rows = DAYS * 80
    seconds = np.sort(rng.integers(0, DAYS * 86_400, rows))
    frame = pl.DataFrame(
        {
            "TRANSACTION_ID": np.arange(rows),
            "TX_DATETIME": [FIRST_DAY + timedelta(seconds=int(second)) for second in seconds],
            "CUSTOMER_ID": rng.integers(0, 40, rows).astype(str),
            "TERMINAL_ID": rng.integers(0, 30, rows).astype(str),
            "TX_AMOUNT": rng.gamma(2, 25, rows).round(2),
            "TX_FRAUD": (rng.random(rows) < 0.02).astype(np.int64),
        }
    )
    path = tmp_path_factory.mktemp("published") / "with a space.parquet"
    frame.write_parquet(path)
    return path


@pytest.fixture
def bare_stack(tmp_path: Path) -> Iterator[Stack]:
    """A stack that is not started.

    Its MLflow is remote and away. These tests need none, and it would take longest to start. They
    need no alerts either.
    """
    stack = Stack(
        tmp_path,
        DOJO_MLFLOW_URL=f"http://127.0.0.1:{free_port()}",
        DOJO_WITHOUT="airflow,prometheus",
    )
    yield stack
    stack.dojo("down", check=False)


def test_a_replayed_world_is_remembered_and_never_continued_as_another(
    bare_stack: Stack, published_file: Path
) -> None:
    """Its first start has Airflow, which comes and goes with the stack."""
    stack = bare_stack
    stack.environment["DOJO_WITHOUT"] = "prometheus"
    stack.dojo("up", "--transactions", str(published_file), within=300)
    wait_until(
        lambda: stack.status()["world"] is not None, 60, "the replayed world has a time", every=0.5
    )
    time = datetime.fromisoformat(stack.status()["world"]["time"]).replace(tzinfo=None)
    assert FIRST_DAY < time <= FIRST_DAY + timedelta(days=DAYS)
    status = stack.status()
    assert status["airflow"]["password"], "people log in to see a retraining's tasks"
    airflow = status["processes"]["airflow"]
    assert airflow["state"] == "healthy"
    members = [ProcessId(**member) for member in airflow["members"]]
    assert len(members) >= 4, "launcher, API server, scheduler, DAG processor"
    stack.dojo("down")
    assert not [member for member in members if member.process() is not None]
    stack.environment["DOJO_WITHOUT"] = "airflow,prometheus"

    refused = stack.dojo("up", check=False, DOJO_WORLD_SOURCE="synthetic")
    assert refused.returncode == 1
    assert "built with DOJO_WORLD_SOURCE=replay" in refused.stderr
    assert "dojo down --purge" in refused.stderr

    stack.dojo("up", within=240)  # without a setting it goes on replaying
    wait_until(lambda: stack.status()["world"] is not None, 60, "the world goes on", every=0.5)
    assert datetime.fromisoformat(stack.status()["world"]["time"]).replace(tzinfo=None) == time


def test_a_stack_that_cannot_start_says_why_and_leaves_nothing_running(bare_stack: Stack) -> None:
    stack = bare_stack
    home = Path(stack.environment["DOJO_HOME"])
    home.mkdir(parents=True, exist_ok=True)
    (home / "world.json").write_text("{}")
    failed = stack.dojo("up", check=False, within=240)
    assert failed.returncode == 1
    assert "died 3 times" in failed.stderr
    assert "world.json: cannot be understood" in failed.stderr  # the last lines of its log
    assert stack.dojo("down").stdout.strip() == "nothing was running"


def test_without_any_right_spec_nothing_is_started(bare_stack: Stack) -> None:
    spec = Path(bare_stack.environment["DOJO_MODELS_DIR"]) / "fraud_detection.yaml"
    spec.write_text(spec.read_text() + "unheard_of: 1\n")
    failed = bare_stack.dojo("up", check=False)
    assert failed.returncode == 1
    assert "unheard_of: unknown key" in failed.stderr
    assert bare_stack.dojo("down").stdout.strip() == "nothing was running"


def test_a_file_that_cannot_be_imported_starts_nothing(bare_stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "wrong.csv").write_text("a,b\n1,2\n")
    failed = bare_stack.dojo("up", "--transactions", str(tmp_path / "wrong.csv"), check=False)
    assert failed.returncode == 1
    assert "customer_id" in failed.stderr
    assert bare_stack.dojo("down").stdout.strip() == "nothing was running"
