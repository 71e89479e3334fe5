"""The running stack, from `dojo up` to `dojo down`: one small world and only real processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any

import polars as pl
import psutil
import pytest

from dojo.core.events.types import Stream
from dojo.core.settings import Settings, port_field, variable
from dojo.drills.catalogue import drill
from dojo.drills.record import Records
from dojo.drills.seal import seal
from dojo.shop.events import TRANSACTIONS
from dojo.stack.observability.installed import alerting_runs
from dojo.stack.paths import lock_file, status_file
from dojo.stack.supervisor.identity import ProcessId
from feature_repo import catalog
from tests.e2e.prometheus_queries import Prometheus, without_a_result
from tests.e2e.stack import MODEL, PAYMENT, Stack
from tests.support.installed import installed
from tests.support.runbooks import failures
from tests.support.servers import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

PROCESSES = {
    "redis",
    "redis-online",
    "mlflow",
    "gateway",
    "recorder",
    "streamer",
    "materializer",
    "trainer",
    "rollout",
    "simulator",
}
PROCESSES |= {"monitor", "responder"}
if alerting_runs(
    Settings()
):  # Prometheus and Alertmanager are installed; CI has them (tests/support/installed.py)
    PROCESSES |= {"receiver", "alertmanager", "prometheus"}

# Four world hours per second give 100 payments per second. Half the outcomes (2 days) arrive within
# 12 s.
QUICK = "14400"


def test_up_ends_with_everything_healthy_within_the_memory_promised(stack: Stack) -> None:
    status = stack.status()
    assert {
        name: process["state"] for name, process in status["processes"].items()
    } == dict.fromkeys(PROCESSES, "healthy")
    assert not [name for name, process in status["processes"].items() if process["restarts"]]
    assert status["memory_bytes"] < 3_000_000_000
    assert stack.dojo("status").returncode == 0


def test_up_again_changes_nothing(stack: Stack) -> None:
    before = stack.status()
    again = stack.json("up")
    assert again["already_running"] is True
    assert again["supervisor"] == before["supervisor"]
    assert {p["name"]: p["id"] for p in again["processes"]} == {
        n: p["id"] for n, p in before["processes"].items()
    }


def test_a_second_stack_is_refused_with_each_taken_port_its_holder_and_its_setting(
    stack: Stack,
) -> None:
    other_home = stack.home.parent / "other"
    refused = stack.dojo("up", check=False, DOJO_HOME=str(other_home))
    assert refused.returncode == 1
    redis = stack.status()["processes"]["redis"]
    assert f"port {redis['port']} (redis) is taken by pid {redis['id']['pid']}" in refused.stderr
    taken = {variable(port_field(name)) for name in PROCESSES}
    assert all(f"{variable} moves it" in refused.stderr for variable in taken)
    assert not lock_file(other_home).exists()


def test_the_ports_are_remembered_for_commands_in_other_shells(stack: Stack) -> None:
    forgetful = {"DOJO_GATEWAY_PORT", "DOJO_REDIS_PORT", "DOJO_MLFLOW_PORT", "DOJO_MODELS_DIR"}
    environment = {
        name: value for name, value in stack.environment.items() if name not in forgetful
    }
    shell = Stack.__new__(Stack)
    shell.environment = environment
    assert shell.json("world", "status")["time"]


def test_the_doctor_finds_nothing_missing_beside_a_running_stack(stack: Stack) -> None:
    checks = {check["name"]: check for check in stack.json("doctor")}
    assert checks["ports"]["found"].startswith("held by the running stack")
    assert not [check for check in checks.values() if check["verdict"] == "missing"]


def test_the_first_version_is_champion_and_answers_a_known_customer_in_full(
    stack: Stack, trained: dict[str, Any]
) -> None:
    assert stack.status()["champions"] == {MODEL: trained["version"]}
    known = stack.lake.scan(TRANSACTIONS).last().collect().row(0, named=True)
    answer = stack.predict(
        {"customer_id": known["customer_id"], "merchant_id": known["merchant_id"], "amount": 42.5}
    )
    assert answer["version"] == trained["version"]
    assert 0 <= answer["score"] <= 1
    assert not answer["degraded"]
    assert stack.predict(PAYMENT)["degraded"] == ["cold_start"]


def test_status_knows_how_fresh_every_stored_view_is(stack: Stack, trained: dict[str, Any]) -> None:
    features = stack.status()["features"]
    assert {view: fresh["state"] for view, fresh in features.items()} == dict.fromkeys(
        catalog.VIEWS, "ok"
    )


def test_payments_become_predictions_in_the_lake_and_outcomes_become_performance(
    stack: Stack, trained: dict[str, Any]
) -> None:
    history_end = datetime.fromisoformat(stack.json("world", "status")["time"])
    stack.json("world", "resume", "--speed", QUICK)

    def all_versions() -> dict[str, Any]:
        found: dict[str, Any] = stack.look(
            "performance", MODEL, "--since", history_end.isoformat()
        )["versions"][0]
        return found

    try:
        wait_until(
            lambda: all_versions()["labelled"] >= 300,
            120,
            "300 live predictions have their outcome",
            every=1,
        )
    finally:
        stack.json("world", "pause")
    measured = all_versions()
    positives, negatives = (
        measured["figures"][name]["rows"] for name in ("catch_rate", "false_positive_rate")
    )
    assert positives + negatives == measured["labelled"]

    def unanswered() -> int:
        """Return live payments in the lake without a prediction of the trained version."""
        live = stack.lake.scan(TRANSACTIONS, history_end).select("transaction_id")
        answered = stack.lake.scan(Stream.PREDICTIONS, history_end).filter(
            pl.col("version") == trained["version"]
        )
        return len(
            live.join(
                answered, left_on="transaction_id", right_on="request_id", how="anti"
            ).collect()
        )

    wait_until(
        lambda: unanswered() == 0, 30, "every payment in the lake has its prediction", every=0.5
    )
    for stream in (TRANSACTIONS, Stream.PREDICTIONS, Stream.OUTCOMES):
        ids = stack.lake.scan(stream).select("event_id").collect()["event_id"]
        assert ids.n_unique() == len(ids), f"{stream} has events twice"


@pytest.fixture
def rollout_in_shadow(stack: Stack, trained: dict[str, Any]) -> Iterator[None]:
    """Start a challenger that stays in shadow, so that dashboards have a rollout to show."""
    challenger = stack.json("train", MODEL, within=240)
    stack.dojo(
        "rollout", "start", MODEL, challenger["version"], "--force", "--why", "something to look at"
    )
    # Not checked, because a busy controller may take the order after the command's waiting time.
    stack.dojo("rollout", "pause", MODEL, "--why", "stays in its shadow", check=False)
    yield
    stack.dojo("rollout", "abort", MODEL, "--why", "seen", "--yes")
    ended = ("rolled_back", "done")
    wait_until(
        lambda: stack.look("rollout", "show", MODEL)["stage"] in ended,
        60,
        "the rollout is over",
        every=0.5,
    )


def test_every_query_of_dashboards_and_rules_finds_something(
    stack: Stack, rollout_in_shadow: None
) -> None:
    """A query with a misspelt label is valid. Its panel stays empty, and its alert never fires."""
    installed("prometheus")
    prometheus = Prometheus(f"http://127.0.0.1:{stack.ports['DOJO_PROMETHEUS_PORT']}")
    stack.json("world", "resume", "--speed", QUICK)
    nothing: dict[str, str] = {}

    def all_found() -> bool:
        nothing.clear()
        nothing.update(without_a_result(prometheus))
        return not nothing

    # Rates need two scrapes (10 s). Judged days need some world days (6 s each). Labelled days also
    # need their labels.
    try:
        # Hundreds of queries, of which few wait for the world's days. A look takes a second.
        wait_until(all_found, 180, "every query has a result", every=3)
    except AssertionError:
        listed = "\n".join(f"{where}: {what}" for where, what in nothing.items())
        pytest.fail(f"{len(nothing)} queries find nothing:\n{listed}")
    finally:
        stack.json("world", "pause")


def test_an_edited_spec_is_told_and_takes_effect_with_config_apply(
    stack: Stack, trained: dict[str, Any]
) -> None:
    file = stack.models / f"{MODEL}.yaml"
    before, text = stack.status(), file.read_text()
    readers = {
        name for name, process in before["processes"].items() if "specs" in process["details"]
    }
    assert readers == {
        "gateway",
        "materializer",
        "trainer",
        "rollout",
        "monitor",
        "responder",
        "simulator",
    }
    assert before["specs"] == {}
    assert stack.look("config", "diff") == {"changes": {}, "restart": []}

    file.write_text(text.replace("canary_time: 4h", "canary_time: four hours"))
    refused = stack.dojo("config", "apply", "--why", "a slip", "--yes", check=False)
    assert refused.returncode == 1
    assert "rollout.canary_time: expected a duration with its unit" in " ".join(
        refused.stderr.split()
    ).replace("Value error, ", "")
    assert stack.look("audit", "list", "--kind", "spec") == []

    file.write_text(
        text.replace("canary_time: 4h", "canary_time: 3h").replace("cooldown: 24h", "cooldown: 12h")
    )
    wait_until(
        lambda: set(stack.status()["specs"].get(MODEL, ())) == readers,
        30,
        "every process tells of the edit",
        every=0.5,
    )
    asked = stack.look("config", "diff")
    assert asked["changes"] == {
        MODEL: {
            "rollout.canary_time": {"before": "4h", "after": "3h"},
            "response.cooldown": {"before": "1d", "after": "12h"},
        }
    }
    assert readers <= set(asked["restart"])
    assert asked["restart"][-1] == "gateway"

    applied = stack.json("config", "apply", "--why", "shorter nights", "--yes", within=300)
    assert applied == {"changes": asked["changes"], "restarted": asked["restart"]}
    after = stack.status()
    assert after["specs"] == {}
    for name in readers:
        assert after["processes"][name]["id"] != before["processes"][name]["id"]
        read = (
            before["processes"][name]["details"]["specs"][MODEL],
            after["processes"][name]["details"]["specs"][MODEL],
        )
        assert read[0]["read"] != read[1]["read"]
        assert "file" not in read[1]
    kept = {
        name
        for name in PROCESSES - readers
        if after["processes"][name]["id"] == before["processes"][name]["id"]
    }
    assert kept >= {"redis", "mlflow", "recorder", "streamer"}
    (entry,) = stack.look("audit", "list", "--kind", "spec")
    assert entry["why"] == "shorter nights"
    assert entry["after"]["fields"] == {"rollout.canary_time": "3h", "response.cooldown": "12h"}
    assert stack.look("config", "diff") == {"changes": {}, "restart": []}
    wait_until(
        lambda: stack.predict(PAYMENT)["version"] == trained["version"],
        30,
        "the gateway serves again",
        every=0.5,
    )


def test_every_look_that_a_runbook_asks_for_works(stack: Stack, trained: dict[str, Any]) -> None:
    def run(words: list[str]) -> tuple[int, str]:
        seen = stack.run_here(words)
        return seen.exit_code, seen.stderr

    assert not failures(run, stack.status()["processes"])


def test_a_drill_goes_from_its_seal_to_its_score(stack: Stack, trained: dict[str, Any]) -> None:
    """Nothing done is no outcome. Then the right work is, and its record has a score."""
    installed("prometheus")
    paused = stack.dojo("drill", "start", "two-recorders", check=False)
    assert paused.returncode == 1
    assert "the world is paused" in paused.stderr
    stack.json("world", "resume")
    try:
        begun = stack.json("drill", "start", "two-recorders", within=300)
        assert list(begun["marks"]) == ["injected", "witnessed", "paged"]
        again = stack.dojo("drill", "start", "two-recorders", check=False)
        assert "drill 1 is open" in again.stderr
        assert "open, so it has no report" in stack.dojo("drill", "report", check=False).stderr
        stack.json("drill", "ack")
        stack.json("alerts")
        stack.json("drill", "hypothesis", "saturation_storage", "--because", "alerts")
        waits = stack.status()["processes"]["recorder"]["details"]["reason"]
        stack.dojo("logs", "recorder")
        stack.json("drill", "refute", "saturation_storage", "--because", "logs recorder")
        stack.json("drill", "hypothesis", "lock", "--because", "logs recorder")
        stack.json("audit", "list")
        stack.json(
            *("drill", "answer", "--component", "stray_process", "--mechanism", "lock"),
            *("--trigger", "manual_command", "--impact", "none"),
        )
        stray = int(waits.partition("(process ")[2].split()[0])
        assert psutil.Process(stray).status() == psutil.STATUS_STOPPED
        spec = drill("two-recorders")
        harmed = Records(stack.home).samples(Records(stack.home).read(1))[-5:]
        assert harmed
        assert not any(spec.outcome.holds(sample.values) for sample in harmed), "still harmed"
        os.kill(stray, signal.SIGKILL)
        wait_until(lambda: reads_again(stack), 60, "the stack's own recorder has the lake", every=1)
        stack.dojo("status", check=False)
        shown = stack.json("drill", "resolve", within=300)
    finally:
        stack.dojo("drill", "stop", check=False)
        stack.json("world", "pause")
    points = {part["what"]: part["points"] for part in shown["score"]["parts"]}
    assert points["the harm ended, and stayed away"] == 10
    assert points["it survived a restart of recorder"] == 5
    assert points["component stray_process"] == 6
    assert points["nothing left behind"] == 2
    assert shown["score"]["total"] >= 75, shown["score"]
    assert stack.json("drill", "history")[0]["state"] == "closed"
    assert seal("two-recorders", shown["run"]["salt"]) == begun["seal"]


def reads_again(stack: Stack) -> bool:
    return stack.status()["processes"]["recorder"]["details"]["state"] != "waiting"


def test_a_fault_of_the_online_store_makes_answers_worse_and_stops_nothing_else(
    stack: Stack, trained: dict[str, Any]
) -> None:
    known = stack.lake.scan(TRANSACTIONS).last().collect().row(0, named=True)
    payment = {
        "customer_id": known["customer_id"],
        "merchant_id": known["merchant_id"],
        "amount": 42.5,
    }
    assert not stack.predict(payment)["degraded"]
    before = {name: process["id"] for name, process in stack.status()["processes"].items()}
    began = stack.status()["world"]["time"]
    online = before["redis-online"]["pid"]
    os.kill(online, signal.SIGSTOP)  # it hangs, which takes longer to notice than an end
    try:
        answers = [stack.predict(payment) for _ in range(20)]
        assert [answer["degraded"] for answer in answers] == [["features_last_known"]] * 20
        asked = {answer["prediction_id"] for answer in answers}
        stack.json("world", "resume")
        wait_until(
            lambda: (
                stack.status()["world"]["time"] > began
                and asked
                <= set(stack.lake.scan(Stream.PREDICTIONS).collect()["prediction_id"].to_list())
            ),
            40,  # on a busy machine a look takes seconds
            "the clock goes on, and the answers are recorded",
        )
    finally:
        stack.json("world", "pause")
        with suppress(ProcessLookupError):  # the supervisor has noticed it meanwhile
            os.kill(online, signal.SIGKILL)

    def all_back() -> bool:
        now = stack.status()
        return now["healthy"] and now["processes"]["redis-online"]["id"] != before["redis-online"]

    wait_until(all_back, 30, "the supervisor starts it again")
    wait_until(lambda: not stack.predict(payment)["degraded"], 10, "whole answers")
    after = {name: process["id"] for name, process in stack.status()["processes"].items()}
    assert {name for name in before if before[name] != after[name]} == {"redis-online"}


def test_every_process_comes_back_from_a_kill_and_the_loop_goes_on(
    stack: Stack, trained: dict[str, Any]
) -> None:
    before = stack.status()["processes"]
    for process in before.values():
        os.kill(process["id"]["pid"], signal.SIGKILL)

    def all_back() -> bool:
        now = stack.status()
        return now["healthy"] and all(
            now["processes"][name]["id"] != before[name]["id"] for name in PROCESSES
        )

    wait_until(
        all_back, 120, f"every process is back; the last status is {stack.status()}", every=0.5
    )
    assert stack.predict(PAYMENT)["version"] == trained["version"]
    predicted = len(stack.lake.scan(Stream.PREDICTIONS).collect())
    stack.json("world", "resume", "--speed", QUICK)
    try:
        wait_until(
            lambda: len(stack.lake.scan(Stream.PREDICTIONS).collect()) > predicted + 100,
            60,
            "new predictions reach the lake",
            every=0.5,
        )
    finally:
        stack.json("world", "pause")


def test_the_logs_of_all_processes_are_readable_in_one(stack: Stack) -> None:
    lines = stack.dojo("logs", "-n", "10000").stdout.splitlines()
    assert {line.split()[0] for line in lines if line.split()} >= {
        "redis",
        "mlflow",
        "gateway",
        "supervisor",
    }
    unknown = stack.dojo("logs", "nobody", check=False)
    assert unknown.returncode == 2
    assert "gateway, materializer, mlflow" in unknown.stderr.split("there are: ")[1]


def test_down_leaves_nothing_behind_and_purge_no_data(stack: Stack) -> None:
    status = stack.status()
    members = [
        ProcessId(**member)
        for process in status["processes"].values()
        for member in process["members"]
    ]
    assert set(status["processes"]) >= PROCESSES
    assert all(process["members"] for process in status["processes"].values())
    stack.dojo("down")
    assert not [member for member in members if member.process() is not None]
    held = {c.laddr.port for c in psutil.net_connections("inet") if c.status == psutil.CONN_LISTEN}
    assert not held & {int(port) for port in stack.ports.values()}
    assert not lock_file(stack.home).exists()
    assert not status_file(stack.home).exists()
    assert stack.dojo("status", check=False).returncode == 1
    stack.dojo("down", "--purge", "--yes")
    assert not stack.home.exists()
