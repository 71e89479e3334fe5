"""Right and wrong requests to one real gateway with Feast's rows."""

from __future__ import annotations

import gzip
import http.client
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from dojo.core.events.types import Prediction
from feature_repo import catalog
from tests.integration.services.gateway.conftest import WORLD_NOW
from tests.support.bundles import cache_bundle
from tests.support.gateways import TIME_KEY, WITH_TIME_KEY, GatewayServer, logged_predictions
from tests.support.online_rows import stored_value
from tests.support.servers import RedisServer, wait_until

pytestmark = pytest.mark.integration

PREDICT = "/v1/models/fraud_detection:predict"
INFER = "/v2/models/fraud_detection/infer"
BODY_LIMIT = 262_144
GOOD = {"request_id": "tx-1", "customer_id": "c1", "merchant_id": "m2", "amount": 81.5}


@pytest.fixture(scope="module")
def gateway(
    online_redis: RedisServer, bundle: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayServer]:
    server = GatewayServer(
        tmp_path_factory.mktemp("gateway"), online_redis.url, max_body_bytes=BODY_LIMIT
    )
    cache_bundle(server.home, *bundle)
    server.start()
    wait_until(lambda: server.predict(GOOD)[0]["degraded"] is None, 10, "Redis is found")
    yield server
    server.stop()


def logged(gateway: GatewayServer, redis: RedisServer, prediction_id: str) -> Prediction:
    def found() -> list[Prediction]:
        return [
            event for event in logged_predictions(redis.url) if event.prediction_id == prediction_id
        ]

    wait_until(lambda: bool(found()), 5, "the prediction is in the event log")
    return found()[0]


def test_a_known_entity_is_scored_on_feasts_values_and_logged_exactly(
    gateway: GatewayServer, online_redis: RedisServer
) -> None:
    time = "2018-06-15T11:30:00Z"
    answer = gateway.predict({**GOOD, "transaction_time": time})[0]
    assert answer["degraded"] is None
    assert answer["version"] == "1"
    assert answer["arm"] == "champion"
    event = logged(gateway, online_redis, answer["prediction_id"])

    stored = {
        feature.name: stored_value(feature.name, 1 if view.entity == "customer" else 2)
        for view in catalog.VIEWS.values()
        for feature in view.features
    }
    at = WORLD_NOW.timestamp() - 1800
    expected = stored | catalog.REQUESTS["payment"].compute(
        {**stored, "amount": 81.5, "transaction_time": at}
    )
    assert list(event.features) == list(catalog.SERVICES["fraud_detection_v1"].features)
    assert event.features == pytest.approx(
        {name: expected[name] for name in event.features}, rel=1e-6
    )
    assert set(event.feature_age_seconds) == set(catalog.VIEWS)
    for age in event.feature_age_seconds.values():
        assert age == 3600.0  # the rows are an hour old, and the clock stands still
    assert event.request_id == "tx-1"
    assert event.entity_keys == {"customer": "c1", "merchant": "m2"}
    assert event.score == answer["score"]
    assert event.world_time == WORLD_NOW
    assert 0 < event.latency_seconds < 1


@pytest.mark.parametrize("stranger", [{"customer_id": "nobody"}, {"merchant_id": "nowhere"}])
def test_an_unknown_entity_is_answered_as_cold_start_with_zeros(
    stranger: dict[str, str], gateway: GatewayServer, online_redis: RedisServer
) -> None:
    answer = gateway.predict({**GOOD, **stranger})[0]
    assert answer["degraded"] == ["cold_start"]
    event = logged(gateway, online_redis, answer["prediction_id"])
    entity = "customer" if "customer_id" in stranger else "merchant"
    for view in catalog.VIEWS.values():
        if view.entity == entity:
            assert event.feature_age_seconds[view.name] is None
            assert {event.features.get(feature.name, 0.0) for feature in view.features} == {0.0}


def test_many_instances_are_answered_in_order(gateway: GatewayServer) -> None:
    alone = [
        gateway.predict(
            {**GOOD, "customer_id": f"c{n}", "transaction_time": "2018-06-15T11:30:00Z"}
        )[0]
        for n in range(5)
    ]
    together = gateway.predict(
        *[
            {**GOOD, "customer_id": f"c{n}", "transaction_time": "2018-06-15T11:30:00Z"}
            for n in range(5)
        ]
    )
    assert [answer["score"] for answer in together] == [answer["score"] for answer in alone]


def instance(**changes: object) -> dict[str, object]:
    return {"instances": [{**GOOD, **changes}]}


WITHOUT_CUSTOMER = {"instances": [{"merchant_id": "m1", "amount": 1}]}


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"", 400, None),
        (b'{"instances": [', 400, None),
        (b"\xff\xfe", 400, None),
        (
            b'{"instances": [{"customer_id": "\\ud800", "merchant_id": "m1", "amount": 1}]}',
            400,
            None,
        ),
        (b"[" * 50_000, 400, None),
        ([], 422, ""),
        ({}, 422, "instances"),
        ({"instances": []}, 422, "instances"),
        ({"instances": "x"}, 422, "instances"),
        ({"instances": [7]}, 422, "instances[0]"),
        ({"instances": [GOOD], "extra": 1}, 422, "extra"),
        ({"instances": [GOOD] * 1001}, 422, "instances"),
        ({"instances": [GOOD, {**GOOD, "amount": "12"}]}, 422, "instances[1].amount"),
        (WITHOUT_CUSTOMER, 422, "instances[0].customer_id"),
        (instance(customer_id=1), 422, "instances[0].customer_id"),
        (instance(customer_id=""), 422, "instances[0].customer_id"),
        (instance(customer_id="x" * 257), 422, "instances[0].customer_id"),
        (instance(merchant_id=None), 422, "instances[0].merchant_id"),
        (instance(request_id=5), 422, "instances[0].request_id"),
        (instance(amount=-0.01), 422, "instances[0].amount"),
        (instance(amount=1e13), 422, "instances[0].amount"),
        (instance(amount=True), 422, "instances[0].amount"),
        (instance(amount=None), 422, "instances[0].amount"),
        (instance(amount=float("nan")), 422, "instances[0].amount"),
        (instance(amount=float("inf")), 422, "instances[0].amount"),
        (instance(amount=float("-inf")), 422, "instances[0].amount"),
        (
            b'{"instances": [{"customer_id": "c1", "merchant_id": "m1", "amount": 1e999}]}',
            422,
            "instances[0].amount",
        ),
        (
            b'{"instances": [{"customer_id": "c1", "merchant_id": "m1", "amount": 1%s}]}'
            % (b"0" * 400),
            422,
            "instances[0].amount",
        ),
        (instance(transaction_time="yesterday"), 422, "instances[0].transaction_time"),
        (instance(transaction_time="2018-06-15T11:30:00"), 422, "instances[0].transaction_time"),
        (instance(transaction_time=1529062200), 422, "instances[0].transaction_time"),
        (instance(merchant="m1"), 422, "instances[0].merchant"),
    ],
)
def test_wrong_input_is_refused_naming_the_field(
    body: object, status: int, field: str | None, gateway: GatewayServer
) -> None:
    found, problem, headers = gateway.request("POST", PREDICT, body)
    assert (found, problem["status"]) == (status, status)
    assert headers["content-type"] == "application/problem+json"
    assert {"type", "title", "detail"} <= set(problem)
    if field is not None:
        assert field in [error["field"] for error in problem["errors"]]
        assert all(error["found"] and error["expected"] for error in problem["errors"])


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (instance(amount=-1), "422"),
        (b"{", "400"),
        (b" " * (BODY_LIMIT + 1), "413"),
        ({"instances": [GOOD]}, "200"),
    ],
)
def test_each_refusal_counts_under_its_code_and_an_answer_under_none_of_them(
    body: object, code: str, gateway: GatewayServer
) -> None:
    """The alert RequestsRefused reads this count."""

    def counted() -> dict[str, float]:
        codes = ("200", "400", "413", "422")
        return {
            one: gateway.metric("dojo_gateway_requests_total", model="fraud_detection", code=one)
            for one in codes
        }

    before = counted()
    gateway.request("POST", PREDICT, body)
    assert counted() == {one: count + (one == code) for one, count in before.items()}


CALLERS = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize(
    ("traceparent", "expected"),
    [
        (f"00-{CALLERS}-00f067aa0ba902b7-01", CALLERS),
        (f"01-{CALLERS}-00f067aa0ba902b7-01-more", CALLERS),
        (f"ff-{CALLERS}-00f067aa0ba902b7-01", None),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", None),
        (f"00-{CALLERS.upper()}-00f067aa0ba902b7-01", None),
        (None, None),
    ],
)
@pytest.mark.parametrize("path", [PREDICT, INFER])
def test_one_trace_id_leads_from_the_request_to_the_prediction_log(
    path: str,
    traceparent: str | None,
    expected: str | None,
    gateway: GatewayServer,
    online_redis: RedisServer,
) -> None:
    sent = {} if traceparent is None else {"traceparent": traceparent}
    body = {"instances": [GOOD, GOOD]} if path == PREDICT else tensors()
    status, answer, headers = gateway.request("POST", path, body, sent)
    assert status == 200
    version, trace_id, span, flags = headers["traceresponse"].split("-")
    assert (version, len(span), flags) == ("00", 16, "01")
    assert len(trace_id) == 32
    assert trace_id == expected if expected else trace_id not in (traceparent or "").lower()

    def found() -> list[Prediction]:
        return [e for e in logged_predictions(online_redis.url) if e.trace_id == trace_id]

    ids = {one["prediction_id"] for one in answer.get("predictions", ())}
    wait_until(
        lambda: len(found()) >= 2 and ids <= {event.prediction_id for event in found()},
        5,
        "both instances are in the event log under the trace",
    )
    if expected is None:
        assert len(found()) == 2, "another request has another trace"


@pytest.mark.parametrize("path", [PREDICT, INFER])
def test_a_refused_request_has_a_trace_too(path: str, gateway: GatewayServer) -> None:
    sent = {"traceparent": f"00-{CALLERS}-00f067aa0ba902b7-01"}
    status, _, headers = gateway.request("POST", path, b"{", sent)
    assert status == 400
    assert headers["traceresponse"].startswith(f"00-{CALLERS}-")
    _, _, first = gateway.request("POST", path, b"{")
    _, _, second = gateway.request("POST", path, b"{")
    assert first["traceresponse"] != second["traceresponse"]


def test_every_wrong_field_is_named_at_once(gateway: GatewayServer) -> None:
    _, problem, _ = gateway.request(
        "POST", PREDICT, {"instances": [{"customer_id": 1, "amount": -1, "zip": 2}]}
    )
    fields = [error["field"].removeprefix("instances[0].") for error in problem["errors"]]
    assert sorted(fields) == ["amount", "customer_id", "merchant_id", "zip"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/models/nope:predict", 404),
        ("GET", "/v2/models/nope", 404),
        ("GET", "/v2/models/nope/ready", 404),
        ("POST", "/v2/models/nope/infer", 404),
        ("POST", "/v2/models/fraud_detection/versions/7/infer", 404),
        ("GET", "/v2/models/fraud_detection/versions/7/ready", 404),
        ("GET", "/nowhere", 404),
        ("GET", PREDICT, 405),
        ("DELETE", "/healthz", 405),
    ],
)
def test_wrong_paths_and_methods_are_problems_too(
    method: str, path: str, status: int, gateway: GatewayServer
) -> None:
    found, problem, headers = gateway.request(method, path, b"{}" if method == "POST" else None)
    assert (found, problem["status"]) == (status, status)
    assert headers["content-type"] == "application/problem+json"
    if status == 405:
        assert headers["allow"]


def test_callers_cannot_invent_label_values(gateway: GatewayServer) -> None:
    gateway.request("POST", "/v1/models/made-up-7f3a:predict", {"instances": [GOOD]})
    assert gateway.metric("dojo_gateway_requests_total", model="unknown", code="404") >= 1
    assert gateway.metric("dojo_gateway_requests_total", model="made-up-7f3a", code="404") == 0


def pieces(size: int) -> Iterator[bytes]:
    for _ in range(size // 8192):
        yield b" " * 8192


def test_an_oversized_body_is_refused_with_and_without_a_declared_length(
    gateway: GatewayServer,
) -> None:
    assert gateway.request("POST", PREDICT, b" " * (BODY_LIMIT + 1))[0] == 413
    status, problem, _ = gateway.request(
        "POST", PREDICT, pieces(1_000_000), {"Transfer-Encoding": "chunked"}
    )
    assert (status, problem["status"]) == (413, 413)
    body = json.dumps({"instances": [GOOD]}).encode()
    assert gateway.request("POST", PREDICT, body + b" " * (BODY_LIMIT - len(body)))[0] == 200


def test_an_oversized_body_is_refused_before_it_is_sent(gateway: GatewayServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=5)
    connection.putrequest("POST", PREDICT)
    connection.putheader("Content-Length", str(10**12))
    connection.endheaders(b"{")
    assert connection.getresponse().status == 413
    connection.close()


def test_the_documented_examples_are_what_the_server_accepts_and_answers(
    gateway: GatewayServer,
) -> None:
    _, document, _ = gateway.request("GET", "/openapi.json")
    for url in (PREDICT, INFER):
        operation = document["paths"][url]["post"]
        example = operation["requestBody"]["content"]["application/json"]["example"]
        status, answer, _ = gateway.request("POST", url, example)
        assert status == 200
        documented = operation["responses"]["200"]["content"]["application/json"]
        shown = documented.get("example") or documented["examples"]["whole"]["value"]
        assert set(answer) <= {*shown, "id"}
    documented = document["paths"][PREDICT]["post"]["responses"]
    assert {"200", "400", "404", "413", "422", "503"} <= set(documented)
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=5)
    connection.request("GET", "/docs")
    assert connection.getresponse().status == 200
    connection.close()


def tensors(**changes: dict[str, object]) -> dict[str, object]:
    inputs: dict[str, dict[str, object]] = {
        "customer_id": {"datatype": "BYTES", "shape": [2], "data": ["c1", "c2"]},
        "merchant_id": {"datatype": "BYTES", "shape": [2, 1], "data": [["m1"], ["m2"]]},
        "amount": {"datatype": "FP64", "shape": [2], "data": [81.5, 3]},
        "transaction_time": {"datatype": "INT64", "shape": [2], "data": [1529063880, 1529063880]},
        **changes,
    }
    return {
        "id": "call-1",
        "inputs": [{"name": name, **tensor} for name, tensor in inputs.items() if tensor],
    }


@pytest.mark.parametrize("path", [INFER, "/v2/models/fraud_detection/versions/1/infer"])
def test_v2_gives_the_same_scores(path: str, gateway: GatewayServer) -> None:
    status, answer, _ = gateway.request("POST", path, tensors())
    assert status == 200
    assert (answer["model_name"], answer["model_version"], answer["id"]) == (
        "fraud_detection",
        "1",
        "call-1",
    )
    outputs = {output["name"]: output for output in answer["outputs"]}
    time = "2018-06-15T11:58:00Z"
    same = gateway.predict(
        {"customer_id": "c1", "merchant_id": "m1", "amount": 81.5, "transaction_time": time},
        {"customer_id": "c2", "merchant_id": "m2", "amount": 3, "transaction_time": time},
    )
    assert outputs["score"] == {
        "name": "score",
        "datatype": "FP64",
        "shape": [2],
        "data": [p["score"] for p in same],
    }
    assert outputs["flagged"] == {
        "name": "flagged",
        "datatype": "BOOL",
        "shape": [2],
        "data": [p["flagged"] for p in same],
    }
    assert answer["parameters"] == {}


def test_v2_names_degradations(gateway: GatewayServer) -> None:
    _, answer, _ = gateway.request(
        "POST",
        INFER,
        tensors(customer_id={"datatype": "BYTES", "shape": [2], "data": ["c1", "who"]}),
    )
    assert answer["parameters"] == {"degraded": "cold_start"}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"amount": {}}, "inputs[amount]"),
        (
            {"amount": {"datatype": "BYTES", "shape": [2], "data": ["1", "2"]}},
            "inputs[amount].datatype",
        ),
        ({"amount": {"datatype": "FP64", "shape": [3], "data": [1, 2]}}, "inputs[amount].shape"),
        ({"amount": {"datatype": "FP64", "shape": [1], "data": [1]}}, "inputs[amount].shape"),
        ({"amount": {"datatype": "FP64", "shape": [2], "data": [1, -2]}}, "inputs[amount].data[1]"),
        (
            {"amount": {"datatype": "FP64", "shape": [2], "data": [1, float("nan")]}},
            "inputs[amount].data[1]",
        ),
        ({"zip": {"datatype": "FP64", "shape": [2], "data": [1, 2]}}, "inputs[zip]"),
        (
            {"transaction_time": {"datatype": "INT64", "shape": [2], "data": [1, 10**30]}},
            "inputs[transaction_time].data[1]",
        ),
        (
            {"customer_id": {"datatype": "BYTES", "shape": ["x"], "data": ["1", "2"]}},
            "inputs[0].shape[0]",
        ),
    ],
)
def test_v2_refuses_wrong_tensors_naming_them(
    changes: dict[str, dict[str, object]], field: str, gateway: GatewayServer
) -> None:
    status, problem, _ = gateway.request("POST", INFER, tensors(**changes))
    assert status == 422, problem
    assert field in [error["field"] for error in problem["errors"]]
    assert problem["error"].startswith(f"{problem['detail']}; ")
    for error in problem["errors"]:
        told = f"{error['field']}: found {error['found']}, expected {error['expected']}"
        assert told in problem["error"], "a V2 client shows only this text"


def test_a_compressed_body_is_refused_as_one(gateway: GatewayServer) -> None:
    body = gzip.compress(json.dumps({"instances": [GOOD]}).encode())
    for path in (PREDICT, INFER):
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=5)
        connection.request(
            "POST", path, body, {"Content-Encoding": "gzip", "Content-Type": "application/json"}
        )
        answer = connection.getresponse()
        assert (answer.status, json.load(answer)["detail"]) == (
            415,
            "the body is encoded with 'gzip'; send it as it is",
        )
        connection.close()


def test_v2_metadata_and_health(gateway: GatewayServer) -> None:
    assert gateway.request("GET", "/v2")[1]["name"] == "mlops-dojo-gateway"
    assert gateway.request("GET", "/v2/health/live")[:2] == (200, {"live": True})
    assert gateway.request("GET", "/v2/health/ready")[:2] == (200, {"ready": True})
    assert gateway.request("GET", "/v2/models/fraud_detection/versions/1/ready")[:2] == (
        200,
        {"name": "fraud_detection", "ready": True},
    )
    _, metadata, _ = gateway.request("GET", "/v2/models/fraud_detection")
    assert metadata["versions"] == ["1"]
    assert {t["name"]: t["datatype"] for t in metadata["inputs"]} == {
        "customer_id": "BYTES",
        "merchant_id": "BYTES",
        "amount": "FP64",
        "request_id": "BYTES",
        "transaction_time": "BYTES",
    }


FAR = ("2018-06-15T13:00:00Z", "2018-06-14T12:00:00Z", "2026-06-15T12:00:00Z")


@pytest.mark.parametrize("time", FAR)
def test_a_time_away_from_the_worlds_now_is_refused_in_both_protocols_and_batches(
    gateway: GatewayServer, time: str
) -> None:
    """Each of these would have hidden a fraud from a model.

    Such a model looks at the hour, or at the last hour.
    """
    batch = {
        "instances": [
            GOOD,
            {**GOOD, "transaction_time": time},
            {**GOOD, "transaction_time": "2018-06-15T12:01:00Z"},
        ]
    }
    status, problem, _ = gateway.request("POST", PREDICT, batch)
    assert (status, [error["field"] for error in problem["errors"]]) == (
        422,
        ["instances[1].transaction_time"],
    )
    assert problem["errors"][0]["found"] == time
    assert (
        "300 s of world time from the world's now, 2018-06-15T12:00:00Z"
        in problem["errors"][0]["expected"]
    )

    rows = tensors(
        transaction_time={"datatype": "BYTES", "shape": [2], "data": ["2018-06-15T12:00:00Z", time]}
    )
    status, problem, _ = gateway.request("POST", INFER, rows)
    assert (status, [error["field"] for error in problem["errors"]]) == (
        422,
        ["inputs[transaction_time].data[1]"],
    )
    assert "inputs[transaction_time].data[1]" in problem["error"]


def test_any_time_is_taken_from_a_caller_with_the_time_key(gateway: GatewayServer) -> None:
    body = instance(transaction_time=FAR[0])
    status, document, _ = gateway.request("POST", PREDICT, body, WITH_TIME_KEY)
    assert (status, document["predictions"][0]["degraded"]) == (200, None)
    assert (
        gateway.request("POST", PREDICT, body, {"Authorization": f"Bearer {TIME_KEY}x"})[0] == 422
    )
    rows = tensors(transaction_time={"datatype": "BYTES", "shape": [2], "data": list(FAR[:2])})
    assert gateway.request("POST", INFER, rows, WITH_TIME_KEY)[0] == 200


def test_the_document_says_who_may_send_a_time(gateway: GatewayServer) -> None:
    document = gateway.request("GET", "/openapi.json")[1]
    assert document["components"]["securitySchemes"]["time_key"]["scheme"] == "bearer"
    for path in (PREDICT, INFER):
        assert document["paths"][path]["post"]["security"] == [{}, {"time_key": []}]
    field = document["components"]["schemas"]["FraudDetectionInstance"]["properties"][
        "transaction_time"
    ]
    assert "time key" in json.dumps(field)
