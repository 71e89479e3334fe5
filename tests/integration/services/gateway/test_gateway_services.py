"""Models with different inputs in one gateway.

Each has its own feature service. Two services are defined outside feature_repo/.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from redis import Redis

from dojo.core.categories import category_number
from dojo.core.events.types import Prediction
from dojo.core.registry.bundle import MODEL_FILE, OnnxScorer
from dojo.core.state.clock import RedisWorldClock
from dojo.core.state.routes import Arm
from feature_repo.online_layout import ViewLayout, entity_key
from tests.integration.services.gateway.conftest import WORLD_NOW
from tests.support.bundles import cache_bundle, make_bundle
from tests.support.further_features import HABITS_V1, PULSE, RETURNS_V1, write_specs
from tests.support.gateways import GatewayServer, generation, logged_predictions, set_route
from tests.support.grpc_calls import message, methods
from tests.support.online_rows import stored_value
from tests.support.servers import RedisServer, wait_until

pytestmark = pytest.mark.integration

FRAUD = {"customer_id": "c1", "merchant_id": "m2", "amount": 81.5}
RETURNS = {"customer_id": "c1", "items": 4, "channel": "web"}
CHANNELS = ("app", "web")
HABITS = {"customer_id": "c1"}
PULSE_VALUES = [WORLD_NOW.timestamp() - 60, 3.0, 12.5, 40.25]


@pytest.fixture
def gateway(
    breakable_redis: RedisServer, bundle: tuple[Path, str], tmp_path: Path
) -> Iterator[GatewayServer]:
    """Start a gateway with three models, and a row of the further view for c1."""
    specs, modules = write_specs(tmp_path / "models"), "tests.support.further_features"
    gateway = GatewayServer(
        tmp_path, breakable_redis.url, models_dir=specs, feature_modules=modules
    )
    cache_bundle(gateway.home, *bundle)
    for name, service in (("returns", RETURNS_V1), ("habits", HABITS_V1)):
        known = {"channel": CHANNELS} if name == "returns" else None
        made = make_bundle(
            tmp_path / name,
            name,
            features=service.features,
            service=service.name,
            categories=known,
        )
        cache_bundle(gateway.home, tmp_path / name, made, model=name)
    row = ViewLayout(PULSE.name, PULSE.names).pack(WORLD_NOW - timedelta(minutes=1), PULSE_VALUES)
    Redis.from_url(breakable_redis.url).hset(entity_key("customer", "c1"), PULSE.name, row)
    gateway.start()
    yield gateway
    gateway.stop()


def logged(redis: RedisServer, answer: dict[str, Any]) -> Prediction:
    def found() -> list[Prediction]:
        return [
            event
            for event in logged_predictions(redis.url)
            if event.prediction_id == answer["prediction_id"]
        ]

    wait_until(lambda: len(found()) == 1, 10, "the answer is logged")
    return found()[0]


def moved_to(gateway: GatewayServer, redis: Redis, time: datetime) -> None:
    """Set the world's clock, and wait until the gateway has seen it."""
    RedisWorldClock(redis).set(time, 0.0)
    wait_until(lambda: gateway.health()["world_clock"] == time.isoformat(), 10, "the clock moved")


def refused(gateway: GatewayServer, model: str, instance: dict[str, object]) -> list[str]:
    status, problem, _ = gateway.request(
        "POST", f"/v1/models/{model}:predict", {"instances": [instance]}
    )
    assert status == 422, problem
    return sorted(error["field"].removeprefix("instances[0].") for error in problem["errors"])


def test_each_model_takes_its_own_inputs_and_scores_its_own_features(
    gateway: GatewayServer, breakable_redis: RedisServer
) -> None:
    fraud, returns, habits = (
        gateway.predict(instance, model=model)[0]
        for model, instance in (
            ("fraud_detection", FRAUD),
            ("returns", RETURNS),
            ("habits", HABITS),
        )
    )
    assert [answer["degraded"] for answer in (fraud, returns, habits)] == [None, None, None]
    assert logged(breakable_redis, fraud).features["amount"] == 81.5
    event = logged(breakable_redis, returns)
    assert event.features == {
        "items": 4.0,
        "channel": category_number("web"),
        "items_per_visit": 1.0,
        "pulse_sum_2h": 12.5,
    }  # 4 / (3 + 1)
    assert event.new_categories == {}
    assert event.entity_keys == {"customer": "c1"}
    assert event.feature_age_seconds == {"customer_pulse": 60.0}
    event = logged(breakable_redis, habits)
    assert event.features == {name: stored_value(name, 1) for name in HABITS_V1.features}

    assert refused(gateway, "returns", {**FRAUD}) == [
        "amount",
        "channel",
        "items",
        "merchant_id",
    ]
    assert refused(gateway, "fraud_detection", {**RETURNS}) == [
        "amount",
        "channel",
        "items",
        "merchant_id",
    ]
    assert refused(gateway, "habits", {**HABITS, "items": 4}) == ["items"]
    for model, instance, time in (
        ("returns", RETURNS, "checkout_time"),
        ("habits", HABITS, "request_time"),
    ):
        assert (
            gateway.predict({**instance, time: "2018-06-15T11:30:00Z"}, model=model)[0]["degraded"]
            is None
        )
        assert refused(
            gateway, model, {**instance, "transaction_time": "2018-06-15T11:30:00Z"}
        ) == ["transaction_time"]


def test_a_repeated_answer_says_its_age_and_is_logged_as_a_fresh_one_is(
    gateway: GatewayServer, breakable_redis: RedisServer, tmp_path: Path
) -> None:
    """The world's clock stands still, but for the test's own moves."""
    redis = Redis.from_url(breakable_redis.url)

    def ask(customer: str = "c1") -> dict[str, Any]:
        return gateway.predict({"customer_id": customer}, model="habits")[0]

    first, again = ask(), ask()
    assert (first["cached_seconds"], again["cached_seconds"]) == (None, 0.0)
    events = [logged(breakable_redis, answer) for answer in (first, again)]
    assert events[0].event_id != events[1].event_id
    assert [event.cached_seconds for event in events] == [None, 0.0]
    same = ("features", "feature_age_seconds", "score", "flagged", "version", "arm", "degraded")
    assert [getattr(events[0], name) for name in same] == [
        getattr(events[1], name) for name in same
    ]
    assert "cached_seconds" not in gateway.predict(FRAUD)[0], "its spec has no result cache"
    stranger = [ask("nobody") for _ in range(2)]
    assert [answer["degraded"] for answer in stranger] == [["cold_start"]] * 2
    assert [answer["cached_seconds"] for answer in stranger] == [None, None]

    tensor = {"name": "customer_id", "datatype": "BYTES", "shape": [1], "data": ["c1"]}
    _, answer, _ = gateway.request("POST", "/v2/models/habits/infer", {"inputs": [tensor]})
    assert answer["parameters"] == {"cached_seconds": "0"}

    redis.delete(entity_key("customer", "c1"))
    moved_to(gateway, redis, WORLD_NOW + timedelta(minutes=59))
    answer = ask()
    assert (answer["cached_seconds"], answer["degraded"]) == (3540.0, None)
    event = logged(breakable_redis, answer)
    older = {view: age + 3540.0 for view, age in events[0].feature_age_seconds.items() if age}
    assert event.feature_age_seconds == older
    moved_to(gateway, redis, WORLD_NOW + timedelta(minutes=61))
    assert ask()["degraded"] == ["cold_start"], "the result is too old, and the row is gone"

    ask("c2")
    made = make_bundle(
        tmp_path / "2", "habits", seed=7, features=HABITS_V1.features, service=HABITS_V1.name
    )
    cache_bundle(gateway.home, tmp_path / "2", made, model="habits", version="2")
    set_route(breakable_redis.url, "champion", Arm("champion", "2", 1.0), model="habits")
    wait_until(lambda: generation(gateway, "habits") == 1, 10, "version 2 serves")
    answer = ask("c2")
    assert (answer["version"], answer["cached_seconds"]) == ("2", None)
    counted = {
        outcome: gateway.metric(
            "dojo_gateway_result_cache_requests_total", model="habits", outcome=outcome
        )
        for outcome in ("hit", "miss")
    }
    assert counted == {"hit": 3.0, "miss": 6.0}


def test_a_new_category_is_scored_as_any_other_and_named_by_every_door(
    gateway: GatewayServer, breakable_redis: RedisServer, tmp_path: Path
) -> None:
    scorer = OnnxScorer(tmp_path / "returns" / MODEL_FILE)
    scores, reason = {}, "new_category:channel"
    for channel in ("app", "kiosk", "phone"):
        (answer,) = gateway.predict({**RETURNS, "channel": channel}, model="returns")
        assert answer["degraded"] == ([reason] if channel not in CHANNELS else None)
        event = logged(breakable_redis, answer)
        assert event.new_categories == ({"channel": channel} if channel not in CHANNELS else {})
        row = np.array([list(event.features.values())], dtype=np.float32)
        assert answer["score"] == pytest.approx(float(scorer.score(row)[0]), abs=1e-6)
        scores[channel] = answer["score"]
    assert scores["kiosk"] == scores["phone"] != scores["app"]

    columns = {"customer_id": ["c1", "c1"], "items": [4.0, 4.0], "channel": ["kiosk", "app"]}
    inputs = [
        {
            "name": name,
            "shape": [2],
            "datatype": "FP64" if name == "items" else "BYTES",
            "data": values,
        }
        for name, values in columns.items()
    ]
    status, over_http, _ = gateway.request("POST", "/v2/models/returns/infer", {"inputs": inputs})
    assert status == 200
    assert over_http["parameters"]["degraded"] == reason
    with grpc.insecure_channel(gateway.grpc_address) as channel_to:
        over_grpc = methods(channel_to)["ModelInfer"](message("returns", columns))
    assert over_grpc.parameters["degraded"].string_param == reason
    (found,) = (one["data"] for one in over_http["outputs"] if one["name"] == "score")
    assert found == [scores["kiosk"], scores["app"]]
    told = gateway.metric("dojo_gateway_degraded_total", model="returns", reason=reason)
    assert told == 4

    for wrong in (7, "", "x" * 65, None, ["web"]):
        assert refused(gateway, "returns", {**RETURNS, "channel": wrong}) == ["channel"]


def test_each_models_documents_show_its_own_schema(gateway: GatewayServer) -> None:
    document = gateway.request("GET", "/openapi.json")[1]
    for model, fields in (
        (
            "fraud_detection",
            {"customer_id", "merchant_id", "amount", "transaction_time", "request_id"},
        ),
        ("returns", {"customer_id", "items", "channel", "checkout_time", "request_id"}),
        ("habits", {"customer_id", "request_time", "request_id"}),
    ):
        operation = document["paths"][f"/v1/models/{model}:predict"]["post"]
        content = operation["requestBody"]["content"]["application/json"]
        instances = _resolved(
            document, _resolved(document, content["schema"])["properties"]["instances"]["items"]
        )
        assert set(instances["properties"]) == fields
        assert set(content["example"]["instances"][0]) == {
            name for name in fields if not name.endswith("_time")
        }
        tensors = gateway.request("GET", f"/v2/models/{model}")[1]["inputs"]
        assert {tensor["name"] for tensor in tensors} == fields
        answered = operation["responses"]["200"]["content"]["application/json"]
        answers = _resolved(
            document, _resolved(document, answered["schema"])["properties"]["predictions"]["items"]
        )
        given = {"prediction_id", "score", "flagged", "version", "arm", "degraded"}
        given |= {"cached_seconds"} if model == "habits" else set()
        assert (
            set(answers["properties"])
            == set(answered["examples"]["whole"]["value"]["predictions"][0])
            == given
        )


def _resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found


def test_columns_reach_a_model_under_its_own_names(gateway: GatewayServer) -> None:
    columns = [
        ("customer_id", "BYTES", "c1"),
        ("items", "FP64", 4.0),
        ("channel", "BYTES", "web"),
        ("checkout_time", "INT64", 1529063880),
    ]
    inputs = [
        {"name": name, "shape": [1], "datatype": kind, "data": [value]}
        for name, kind, value in columns
    ]
    assert gateway.request("POST", "/v2/models/returns/infer", {"inputs": inputs})[0] == 200
    status, problem, _ = gateway.request("POST", "/v2/models/habits/infer", {"inputs": inputs})
    assert status == 422
    assert sorted(error["field"] for error in problem["errors"]) == [
        "inputs[channel]",
        "inputs[checkout_time]",
        "inputs[items]",
    ]
