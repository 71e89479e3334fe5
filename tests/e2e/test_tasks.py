"""Models of every task in one stack: training, the gate's verdict, the monitor's verdict.

All servers are real. Some models are optional ones of the shop, over its orders, visits, searches
and offers. One is made by `dojo models new`, as docs/add-a-model.md says.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from dojo.cli.serving.fleet import NO_VERSION
from dojo.core.events.types import Stream
from dojo.core.severity import ORDER
from dojo.shop.events import BANNERS, ORDERS, SEARCHES, TRANSACTIONS
from tests.e2e.stack import MODEL, Stack
from tests.support.page import Page
from tests.support.servers import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

SPECS = Path("tests/support/fleet")
PAGE = Page(Path("docs/add-a-model.md"))

# Two world hours per second, only while it is needed. A day takes 12 s. The monitor judges after
# it.
QUICK = "7200"
# Its three days with a fault take 18 s. Nothing in it waits for the monitor within a day.
ACT = "14400"

# Model -> its primary metric, the metric without skill, and whether less is better. Their labels
# arrive within hours.
JUDGED = {
    "basket_value": ("mae", "mae_of_median", True),
    "spending_order": ("ndcg", "random_ndcg", False),
}
# The shop's own. The labels of deliveries take days.
SHOP = ("delivery_time", "banner", "search_ranking", "demand")
FLEET = (*JUDGED, *SHOP)


def small_spec(model: str, directory: Path) -> None:
    """Write a spec of the shop with lower demands, for a world of 200 customers."""
    spec = yaml.safe_load(Path("models", f"{model}.yaml").read_text())
    # 160 orders, 120 visits, 160 results and 24 offers a day, of 42 days and more
    spec["training"]["minimum_rows"] = 1_000
    spec["training"]["estimator"]["parameters"]["n_estimators"] = 60
    (directory / f"{model}.yaml").write_text(yaml.safe_dump(spec))


class FleetStack(Stack):
    """A stack with models of every task.

    Attributes:
        trained: Model -> the answer of `dojo train`.
        checked: The answer of `dojo models check`.
    """

    trained: dict[str, dict[str, Any]]
    checked: dict[str, Any]


def add_a_model(stack: FleetStack, directory: Path) -> None:
    """Do the page's steps before the stack starts."""
    new = PAGE.dojo("models new basket_value")
    stack.dojo(*new, "--into", str(directory), DOJO_FEATURE_MODULES="")  # not written yet
    *_, tests = PAGE.take("python -m pytest")
    theirs = directory / "tests" / Path(tests).name
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(theirs)],
        env=stack.environment,
        check=True,
    )
    stack.checked = stack.json(*PAGE.dojo("models check"))


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetStack]:
    """Start the shop's model without a version, and train the fleet's models.

    All get live traffic.
    """
    directory = tmp_path_factory.mktemp("fleet")
    stack = FleetStack(
        directory,
        PYTHONPATH=str(directory),
        DOJO_FEATURE_MODULES="tests.support.fleet.features,basket_value_features",
        DOJO_MODELS=",".join((MODEL, *FLEET)),
        DOJO_HISTORY_DAYS="75",
        DOJO_SYNTHETIC_CUSTOMERS="200",
        DOJO_WITHOUT="airflow,prometheus",  # test_stack.py has the alerts
    )
    shutil.copy(SPECS / "spending_order.yaml", stack.models)
    for model in SHOP:
        small_spec(model, stack.models)
    add_a_model(stack, directory)
    assert PAGE.take("export DOJO_HOME=")
    assert set(PAGE.dojo("up --models")[-1].split(",")) <= {MODEL, *FLEET}
    try:
        stack.json("up", within=300)
        wait_until(
            lambda: stack.status()["world"] is not None,
            120,
            "the world has a time",
            every=1,
        )
        stack.dojo("responder", "pause", "--why", "the world runs too fast to be judged")
        trained = stack.json_each(*(["train", model] for model in FLEET), within=400)
        stack.trained = dict(zip(FLEET, trained, strict=True))
        assert PAGE.dojo("train") == ["train", "basket_value"]
        yield stack
    finally:
        stack.dojo("down", check=False)


@pytest.mark.parametrize("model", JUDGED)
def test_a_version_knows_more_than_its_task_does_without_skill(
    fleet: FleetStack, model: str
) -> None:
    metric, unskilled, lower = JUDGED[model]
    metrics = fleet.trained[model]["metrics"]
    assert metrics[metric] < metrics[unskilled] if lower else metrics[metric] > metrics[unskilled]
    assert fleet.trained[model]["alias"] == "champion"


def test_a_model_without_a_version_is_named_and_keeps_nobody_else_from_being_ready(
    fleet: FleetStack,
) -> None:
    ready = get(f"{fleet.gateway}/readyz")
    assert {model: of["version"] for model, of in ready["models"].items()} == {
        MODEL: None,
        **dict.fromkeys(FLEET, "1"),
    }


def test_a_new_model_was_checked_without_servers(fleet: FleetStack) -> None:
    found = fleet.checked
    assert not found["faults"]
    assert found["backtest"]["better"]
    assert 0 < found["cost"]["p50_seconds"] <= found["cost"]["p99_seconds"]
    assert found["cost"]["p99_seconds"] < found["latency_slo_seconds"] / 10
    assert found["cost"]["memory_bytes"] > found["cost"]["bytes"] > 0


def test_a_new_model_answers_with_the_features_that_it_shares(fleet: FleetStack) -> None:
    (sent,) = json.loads(PAGE.take("curl -s localhost:8000")[-1])["instances"]
    known = fleet.lake.scan(TRANSACTIONS).last().collect().row(0, named=True)
    (answer,) = ask(fleet, "basket_value", {name: known[name] for name in sent})
    assert not answer["degraded"]
    assert 0 < answer["value"] < 1_000
    (stranger,) = ask(fleet, "basket_value", sent)
    assert stranger["degraded"] == ["cold_start"]


def test_an_answer_is_the_tasks(fleet: FleetStack) -> None:
    known = fleet.lake.scan(ORDERS).last().collect().row(0, named=True)
    instance = {name: known[name] for name in ("merchant_id", "express", "distance_km", "carrier")}
    (answer,) = ask(fleet, "delivery_time", instance)
    assert set(answer) == {"prediction_id", "value", "low", "high", "version", "arm", "degraded"}
    assert not answer["degraded"]
    assert 0 < answer["low"] < answer["value"] < answer["high"] < 15
    assert 0.7 < fleet.trained["delivery_time"]["metrics"]["interval_coverage"] < 0.9
    (quick,) = ask(fleet, "delivery_time", {**instance, "express": 1})
    (slow,) = ask(fleet, "delivery_time", {**instance, "express": 0})
    assert quick["value"] < slow["value"], "express costs more because it is quicker"
    with pytest.raises(urllib.error.HTTPError, match="422"):
        ask(fleet, "delivery_time", {**instance, "delivery_days": 3.0})  # the label is no input


def test_models_of_different_teams_share_a_customers_features(fleet: FleetStack) -> None:
    assert fleet.trained["banner"]["metrics"]["roc_auc"] > 0.55
    known = fleet.lake.scan(BANNERS).last().collect().row(0, named=True)
    instance = {name: known[name] for name in ("customer_id", "banner_id")}
    (answer,) = ask(fleet, "banner", instance)
    assert set(answer) == {"prediction_id", "score", "flagged", "version", "arm", "degraded"}
    assert not answer["degraded"]
    # In a process of its own, because this one's catalogue has no banners.
    touched = fleet.json("features", "impact", "customer_daily")
    assert {one["model"] for one in touched} == {MODEL, *FLEET} - {
        "delivery_time",
        "demand",
    }, "they need no customer"


def test_the_fleet_is_shown_with_its_worst_first(fleet: FleetStack) -> None:
    found = fleet.json("models", check=False)
    severities = [ORDER.index(one["severity"]) for one in found]
    assert severities == sorted(severities, reverse=True), [(o["model"], o["wrong"]) for o in found]
    (ours,) = (one for one in found if one["model"] == MODEL)
    assert (ours["severity"], ours["wrong"]) == ("critical", NO_VERSION), ours
    assert {one["model"]: one["serving"] for one in found} == {
        MODEL: "",
        **dict.fromkeys(FLEET, "1"),
    }


def test_candidates_of_one_request_are_ranked_among_each_other(fleet: FleetStack) -> None:
    recent = fleet.lake.scan(TRANSACTIONS).tail(20).select("customer_id", "merchant_id").collect()
    answers = ask(fleet, "spending_order", *recent.iter_rows(named=True))
    assert sorted(answer["rank"] for answer in answers) == list(range(1, 21))
    by_rank = sorted(answers, key=lambda answer: answer["rank"])
    assert [answer["score"] for answer in by_rank] == sorted(
        (answer["score"] for answer in answers), reverse=True
    )
    assert (
        ask(fleet, "spending_order", recent.row(0, named=True))[0]["rank"] == 1
    )  # a list with one row


@pytest.fixture(scope="module")
def lived(fleet: FleetStack) -> FleetStack:
    """Let the days pass that the monitor needs to judge labelled answers of both models."""

    def judged(model: str) -> bool:
        verdicts = fleet.look("drift", "show", model)["verdicts"]
        found = [verdict["severity"] for verdict in verdicts if verdict["check"] == "performance"]
        return bool(found) and found[0] != "insufficient_data"

    fleet.json(*PAGE.dojo("world resume"), "--speed", QUICK)
    try:
        wait_until(
            lambda: all(map(judged, JUDGED)),
            240,
            "labelled answers of all models are judged",
            every=5,
        )
    finally:
        fleet.json("world", "pause")
    return fleet


@pytest.mark.parametrize("model", JUDGED)
def test_labels_of_the_models_own_kind_arrive_and_the_monitor_judges_them(
    lived: FleetStack, model: str
) -> None:
    versions = lived.look("performance", model)["versions"]
    assert {version["version"]: version["status"] for version in versions}["1"] == "measured"
    live = lived.lake.scan(Stream.PREDICTIONS).filter(
        pl.col("model") == model, pl.col("version") == "1"
    )
    assert len(live.collect()) > 200


def test_the_items_of_a_ranking_are_compared_with_the_holdouts(lived: FleetStack) -> None:
    verdicts = lived.look("drift", "show", "spending_order")["verdicts"]
    subjects = [
        {finding["subject"] for finding in verdict["findings"]}
        for verdict in verdicts
        if verdict["check"] == "prediction_drift" and verdict["severity"] != "insufficient_data"
    ]
    assert subjects
    assert all(of == {"score", "items"} for of in subjects), subjects


def test_answers_are_acted_on_and_their_worth_is_known(lived: FleetStack) -> None:
    """High scores stand at the top, except where an answer came too late."""
    found = lived.look("value")["values"]
    worth = {one["model"]: one for one in found}
    # Some banners are upgraded too, in most towns of this size.
    acts = {"search_ranking": "ordered", "demand": "priced", "delivery_time": "promised"}
    assert set(acts) <= set(worth) <= {*acts, "banner"}, "nothing acts on the flags of payments"
    for model, action in acts.items():
        one = worth[model]
        assert one["version"] == "1"
        assert one["actions"].keys() == {action}
        assert one["decided"] > 2, (model, one)
        assert one["settled"] > 0, (model, one)
    assert worth["demand"]["euro"] != 0
    assert worth["delivery_time"]["euro"] != 0
    answers = lived.lake.scan(Stream.PREDICTIONS).filter(model="search_ranking", version="1")
    shown = lived.lake.scan(SEARCHES).join(
        answers.select(result_id="request_id", score="score"), on="result_id"
    )
    first = shown.filter(position=1).select("score")
    last = shown.filter(position=20).select("score")
    assert first.mean().collect().item() > last.mean().collect().item() + 0.5


@pytest.fixture(scope="module")
def retrained(lived: FleetStack) -> FleetStack:
    lived.json_each(*(["retrain", model, "--why", "a test"] for model in JUDGED), within=400)
    return lived


@pytest.mark.parametrize("model", JUDGED)
def test_a_retraining_is_compared_by_the_tasks_own_metric_and_guards(
    retrained: FleetStack, model: str
) -> None:
    decision = retrained.look("gate", "show", model)
    assert decision["verdict"] in ("improved", "inconclusive", "worse")
    assert decision["primary_metric"] == JUDGED[model][0]
    assert decision["low"] <= decision["gain"] <= decision["high"]
    assert {guard["name"] for guard in decision["guards"]} >= {"worst_segment", "latency", "size"}
    assert decision["baseline"]
    guarded = "coverage" in {guard["name"] for guard in decision["guards"]}
    shown = decision["champion"]["metrics"].get("catalogue_coverage", 0)
    assert guarded == (0 < shown <= 1) == (model == "spending_order")


def test_the_fleet_act_shows_who_notices_a_fault_in_the_payments(lived: FleetStack) -> None:
    """It trains the one model that has no version, and goes on with the running stack."""
    shown = lived.json("demo", "--act", "fleet", "--speed", ACT, "--days", "3", within=400)
    assert shown["champions"].keys() == {MODEL, *FLEET}
    act = shown["fleet"]
    inputs = act["shares"]
    assert inputs[MODEL] > inputs["banner"] > 0
    assert inputs["delivery_time"] == 0
    assert MODEL in act["noticed"], act
    assert {"demand", "delivery_time", "search_ranking"} <= set(shown["values"])
    assert {line["model"]: line["serving"] for line in act["before"]} == shown["champions"]
    drifts = {drift["kind"]: drift for drift in lived.look("world", "drift", "list")}
    assert drifts["unit_bug"]["ended"], "the world is as before"


def test_the_page_says_no_more_than_was_done_here(lived: FleetStack) -> None:
    done = ("performance", "drift show", "retrain", "gate show")
    for command in done:
        assert PAGE.dojo(command)[len(command.split())] == "basket_value"
    assert PAGE.left == []


def get(address: str) -> Any:
    with urllib.request.urlopen(address, timeout=10) as answer:
        return json.load(answer)


def ask(stack: Stack, model: str, *instances: dict[str, Any]) -> list[dict[str, Any]]:
    request = urllib.request.Request(
        f"{stack.gateway}/v1/models/{model}:predict",
        data=json.dumps({"instances": instances}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        predictions: list[dict[str, Any]] = json.load(answer)["predictions"]
    return predictions
