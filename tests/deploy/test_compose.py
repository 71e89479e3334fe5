"""docker-compose.yml, really run: the loop, kills one by one, a stop, an upgrade.

The tests run in order. Each goes on with the stack of the tests before it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dojo.core.state.inbox import RESOLVED
from tests.deploy.composed import LEFT_OUT, MODEL, ONE_SHOTS, ROOT, Composed, Customer
from tests.support.runbooks import failures
from tests.support.servers import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

# World seconds per wall second during the wait for a rollout of two days.
QUICK = "3600"

# For the rest. The recorder writes a file every 3 s, so a test need not wait half a minute for one.
STEADY = "600"

ROLE = "champion"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    """Start a town with a third of the default's size. Everything else is as delivered."""
    directory = tmp_path_factory.mktemp("compose")
    stack = Composed(directory, DOJO_SYNTHETIC_CUSTOMERS="1500", DOJO_SYNTHETIC_MERCHANTS="1500")
    stack.down("--volumes")  # a killed run left volumes with other secrets
    try:
        try:
            report(f"up, images made: {stack.up():.0f} s")
        except (AssertionError, subprocess.TimeoutExpired):
            report(
                stack.compose("ps", "--all", check=False)
                + stack.compose("logs", "--no-color", "--tail", "30", check=False)
            )
            raise
        yield stack
    finally:
        stack.down("--volumes")


def report(line: str) -> None:
    """Note figures for docs/containers.md. tests/deploy/run shows them at its end."""
    with Path(os.environ["DEPLOY_TESTS"]).open("a") as file:
        file.write(line + "\n")


def champion(stack: Composed) -> str:
    return next(
        (str(v["version"]) for v in stack.ask("models", "list") if ROLE in v["aliases"]), ""
    )


def known_customers(stack: Composed) -> list[dict[str, Any]]:
    """Return requests of customers with a past."""
    code = (
        "import json; from pathlib import Path; from dojo.core.lake import Lake; from"
        " dojo.shop.events import TRANSACTIONS\nrows ="
        " Lake(Path('/data/lake')).scan(TRANSACTIONS).tail(200).collect()\n"
        "print(json.dumps(rows.select('customer_id', 'merchant_id', 'amount').to_dicts()[:50]))"
    )
    found: list[dict[str, Any]] = json.loads(stack.python(code).splitlines()[-1])
    return found


def recorded(stack: Composed, prefix: str) -> dict[str, int]:
    """Return request id -> number of its predictions in the lake, for ids with `prefix`."""
    code = (
        "import json, polars as pl; from pathlib import Path; from dojo.core.lake import Lake; from"
        " dojo.core.events.types import Stream\n"
        "rows = Lake(Path('/data/lake')).scan(Stream.PREDICTIONS).select('request_id',"
        " 'prediction_id')\n"
        f"rows = rows.filter(pl.col('request_id').str.starts_with('{prefix}-')).collect()\n"
        "print(json.dumps(dict(rows.group_by('request_id').len().iter_rows())))"
    )
    found: dict[str, int] = json.loads(stack.python(code).splitlines()[-1])
    return found


def test_nothing_starts_without_secrets(tmp_path: Path) -> None:
    done = subprocess.run(
        ["docker", "compose", "--env-file", "/dev/null", "config"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "run make env first" in done.stderr


def test_everything_is_healthy_and_only_the_doors_are_open(stack: Composed) -> None:
    containers = stack.containers()
    expected = set(stack.compose("config", "--services").split()) - set(LEFT_OUT)
    assert set(containers) == expected
    assert {name for name, one in containers.items() if one["Health"] != "healthy"} == set(
        ONE_SHOTS
    )
    assert {containers[name]["ExitCode"] for name in ONE_SHOTS} == {0}
    published = {
        (name, one["URL"])
        for name, one in containers.items()
        for one in containers[name]["Publishers"] or ()
        if one["URL"]
    }
    assert published == {
        ("gateway", "127.0.0.1"),
        ("mlflow", "127.0.0.1"),
        ("airflow", "127.0.0.1"),
    } | (set() if LEFT_OUT else {("grafana", "127.0.0.1")})
    memory = subprocess.run(
        ["docker", "stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}"],
        env=stack.environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    report("memory\n" + memory.stdout)


def test_nobody_is_root_or_writes_to_an_image(stack: Composed) -> None:
    for service in sorted(set(stack.containers()) - set(ONE_SHOTS)):
        said = stack.compose(
            "exec", "--no-TTY", service, "sh", "-c", "id -u; touch /etc/mine 2>&1 || true"
        ).split("\n", 1)
        assert said[0] != "0", service
        assert "Read-only file system" in said[1], (service, said)


def test_the_first_version_is_trained_and_answers_through_the_published_port(
    stack: Composed,
) -> None:
    stack.dojo("up", "--json", within=300)
    as_of = stack.ask("status")["world"]["time"][:10]
    trained = stack.json(
        "train", MODEL, "--as-of", f"{day_before(as_of, 49)}T00:00:00+00:00", within=300
    )
    assert trained["metrics"]["pr_auc"] > 0.2
    wait_until(lambda: answers(stack) == trained["version"], 60, "the gateway serves it")


def day_before(day: str, days: int) -> str:
    from datetime import date, timedelta

    return str(date.fromisoformat(day) - timedelta(days=days))


def answers(stack: Composed) -> str:
    """Return the version that answers, or "" while none answers."""
    try:
        return str(
            stack.predict({"customer_id": "c", "merchant_id": "m", "amount": 1.0})["version"]
        )
    except OSError:
        return ""


def test_a_retraining_in_airflow_is_rolled_out_to_everybody(stack: Composed) -> None:
    before = champion(stack)
    stack.json("responder", "pause", "--why", "this test retrains by hand")
    retrained = stack.json("retrain", MODEL, "--why", "a test of the containers", within=400)
    assert retrained["outcome"] == "promote", retrained
    stack.dojo("world", "resume", "--speed", QUICK)
    wait_until(
        lambda: champion(stack) == retrained["version"], 300, "the rollout has arrived", every=2
    )
    wait_until(lambda: answers(stack) == retrained["version"], 30, "and the gateway serves it")
    stack.dojo("world", "resume", "--speed", STEADY)
    assert retrained["version"] != before
    assert query(stack, "airflow", "select state from dag_run") == ["success"], "Airflow ran it"


def test_every_look_that_a_runbook_asks_for_works(stack: Composed) -> None:
    assert not failures(stack.from_outside, {*stack.containers(), "redis"})


def told_of_drift(stack: Composed) -> set[str]:
    """Return Alertmanager's messages about the inputs so far. A message's id names its occasion."""
    alerts = re.compile(r"^(InputDrift|DataQualityProblem) \(", re.MULTILINE)
    return {
        message["message_id"]
        for message in stack.ask("alerts", "--limit", "1000")
        if message["source"].startswith("alertmanager/")
        and message["model"] == MODEL
        and alerts.search(message["text"])
        if not message["title"].startswith(RESOLVED)
    }


def test_a_drift_reaches_the_inbox_of_the_models_owner(stack: Composed) -> None:
    before = told_of_drift(stack)
    stack.dojo("world", "resume", "--speed", QUICK)
    stack.dojo("world", "drift", "start", "unit_bug", "--why", "a test")
    try:
        wait_until(lambda: told_of_drift(stack) - before, 240, "Alertmanager tells of it", every=3)
    finally:
        stack.dojo("world", "drift", "stop", "unit_bug", "--why", "seen")
        stack.dojo("world", "resume", "--speed", STEADY)


def is_well(stack: Composed) -> bool:
    """Return what `dojo status` says. It says nothing while its container is being replaced."""
    said = stack.inside("dojo", "status", "--json", check=False)
    return bool(said) and bool(json.loads(said)["healthy"])


# The gateway writes predictions some 10 ms after the answer. When it is killed, the last ones are
# only in its memory.
LOST_AT_MOST = {"gateway": 10}


@pytest.mark.parametrize(
    "victim", ["redis-events", "redis-online", "postgres", "mlflow", "gateway", "recorder"]
)
def test_killed_it_comes_back_answers_go_on_and_nothing_is_lost(
    stack: Composed, victim: str
) -> None:
    prefix = f"{victim}-{time.time():.0f}"
    customer = Customer(stack, prefix, known_customers(stack))
    customer.start()
    wait_until(lambda: len(customer.answers.answered) >= 20, 30, "the customer is served")
    killed = time.monotonic()
    stack.kill(victim)
    wait_until(lambda: not stack.healthy(victim), 15, f"{victim} is down", every=0.1)
    wait_until(lambda: stack.healthy(victim), 120, f"{victim} is back", every=0.5)
    back = time.monotonic() - killed
    answered = len(customer.answers.answered)
    wait_until(
        lambda: len(customer.answers.answered) >= answered + 50,
        30,
        "the customer is served after it",
    )
    seen = customer.finish()
    last = set(seen.answered[-20:])
    wait_until(lambda: set(recorded(stack, prefix)) >= last, 120, "the lake has caught up", every=3)
    kept = recorded(stack, prefix)
    lost, doubled = len(set(seen.answered) - set(kept)), sum(count > 1 for count in kept.values())
    report(f"| {victim} | {seen.seen} | {back:.0f} s | {lost} | {doubled} |")
    assert lost <= LOST_AT_MOST.get(victim, 0)
    assert not doubled
    if victim != "gateway":
        assert not seen.failed, "customers are answered all the time"
    wait_until(
        lambda: is_well(stack),
        120,
        "all is well again",
        every=2,
    )


# Runs MLflow's own migrations backwards, to the schema of the previous release.
OLDER_MLFLOW = (
    "import os; from alembic import command; from mlflow.store.db.utils import"
    " _get_alembic_config\n"
    "command.downgrade(_get_alembic_config(os.environ['MLFLOW_BACKEND_STORE_URI']), '-3')"
)
OLDER_AIRFLOW = ("airflow", "db", "downgrade", "--to-version", "3.2.0", "--yes")


def query(stack: Composed, database: str, statement: str) -> list[str]:
    """Return the first column of PostgreSQL's answer."""
    psql = [
        "psql",
        "--username",
        "postgres",
        "--dbname",
        database,
        "--tuples-only",
        "--no-align",
        "--command",
        statement,
    ]
    return stack.compose("exec", "--no-TTY", "postgres", *psql).split()


def schemas(stack: Composed) -> dict[str, str]:
    return {
        database: query(stack, database, "select version_num from alembic_version")[0]
        for database in ("airflow", "mlflow")
    }


# A database gives rows in any order, and updated rows elsewhere than before.
RUNS = "select run_id from dag_run order by run_id"


def test_stopped_and_started_it_has_everything_and_older_databases_are_brought_up(
    stack: Composed,
) -> None:
    before, world = stack.ask("models", "list"), stack.ask("status")["world"]["time"]
    kept, runs, newest = (
        recorded(stack, "recorder"),
        query(stack, "airflow", RUNS),
        schemas(stack),
    )
    stack.down()
    assert not stack.containers()

    stack.compose("up", "--detach", "--no-build", "--wait", "postgres")
    once = ["run", "--rm", "--no-deps", "--no-TTY"]
    stack.compose(*once, "mlflow-migrate", "python", "-c", OLDER_MLFLOW)
    stack.compose(*once, "airflow-migrate", *OLDER_AIRFLOW)
    older = schemas(stack)
    assert {name for name in older if older[name] != newest[name]} == {"airflow", "mlflow"}

    report(f"up again, with databases of releases before: {stack.up():.0f} s")
    assert schemas(stack) == newest
    assert query(stack, "airflow", RUNS) == runs
    assert stack.ask("models", "list") == before
    assert stack.ask("status")["world"]["time"] >= world
    assert recorded(stack, "recorder") == kept
    assert answers(stack) == champion(stack)


def started(stack: Composed, service: str) -> str:
    """Return the start time of a service's container. ISO times of one clock compare as texts."""
    names = stack.compose("ps", "--all", "--quiet", service).split()
    inspect = ["docker", "inspect", "--format", "{{.State.StartedAt}}", *names]
    return subprocess.run(
        inspect, env=stack.environment, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_newer_images_take_over_a_running_stack(stack: Composed) -> None:
    """Run another `up` with all profiles. Readers of generated files read the new ones."""
    before = stack.ask("models", "list")
    for role in ("mlflow", "gateway", "worker", "airflow"):
        newer = f"FROM mlops-dojo/{role}:test\nLABEL org.opencontainers.image.version=next\n"
        subprocess.run(
            ["docker", "build", "--quiet", "--tag", f"mlops-dojo/{role}:next", "-"],
            input=newer, text=True, env=stack.environment, check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
    stack.environment |= {"DOJO_VERSION": "next", "COMPOSE_PROFILES": "full"}
    report(f"up with newer images over a running stack: {stack.up():.0f} s")
    containers = stack.containers()
    assert {
        one["Image"].rpartition(":")[2]
        for one in containers.values()
        if "mlops-dojo/" in one["Image"]
    } == {"next"}
    assert containers["airflow-triggerer"]["Health"] == "healthy"
    assert min(started(stack, "prometheus"), started(stack, "alertmanager")) > started(
        stack, "monitoring-files"
    )
    assert stack.ask("models", "list") == before
    assert answers(stack) == champion(stack)


@pytest.mark.skipif(
    "grafana" in LEFT_OUT, reason="no registry is in reach, and Debian has no Grafana"
)
def test_grafana_has_its_pages_and_reaches_prometheus(stack: Composed) -> None:
    pages = {page["uid"] for page in stack.grafana("/api/search?type=dash-db")}
    assert pages == {
        path.stem for path in (ROOT / "monitoring" / "grafana" / "dashboards").glob("*.json")
    }
    assert stack.grafana("/api/datasources/uid/dojo-prometheus/health")["status"] == "OK"


def test_down_with_its_volumes_leaves_nothing(stack: Composed) -> None:
    stack.down("--volumes")
    left = subprocess.run(
        [
            "docker",
            "volume",
            "ls",
            "--quiet",
            "--filter",
            f"label=com.docker.compose.project={stack.name}",
        ],
        env=stack.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert left.stdout.split() == []
