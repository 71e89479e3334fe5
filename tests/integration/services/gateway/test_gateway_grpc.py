"""gRPC against a real gateway: scores, refusals, deadlines, traces and the end.

test_gateway_clients.py has the standard clients.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from services.gateway.http.api import CALLER_GONE
from services.gateway.rpc.protocol import CLASSES
from services.gateway.rpc.server import GrpcDoor
from tests.integration.services.gateway.conftest import StartGateway
from tests.support.bundles import make_slow_bundle
from tests.support.gateways import MODEL, TIME_KEY, GatewayServer, logged_predictions
from tests.support.grpc_calls import message, methods, refused
from tests.support.servers import RedisServer, wait_until

pytestmark = pytest.mark.integration

COLUMNS = {"customer_id": ["c1", "c2"], "merchant_id": ["m1", "m2"], "amount": [81.5, 3.0]}
ROW = {name: values[:1] for name, values in COLUMNS.items()}
ROW_SECONDS, DEADLINE_SECONDS, MAX_IN_FLIGHT = 0.3, 3, 2
CALLERS = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture(scope="module")
def call(shared_gateway: GatewayServer) -> Iterator[dict[str, Any]]:
    with grpc.insecure_channel(shared_gateway.grpc_address) as channel:
        yield methods(channel)


@pytest.mark.parametrize("raw", [True, False])
def test_scores_are_those_of_http(
    raw: bool, call: dict[str, Any], shared_gateway: GatewayServer
) -> None:
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in zip(*COLUMNS.values(), strict=True)]
    tensors = [
        {
            "name": name,
            "datatype": "BYTES" if isinstance(values[0], str) else "FP64",
            "shape": [2],
            "data": values,
        }
        for name, values in COLUMNS.items()
    ]
    path = f"/v2/models/{MODEL}/infer"
    status, over_http, _ = shared_gateway.request("POST", path, {"inputs": tensors})
    assert status == 200
    answer = call["ModelInfer"](message(MODEL, COLUMNS, raw=raw))
    assert answer.model_version == over_http["model_version"]
    if raw:
        assert len(answer.raw_output_contents[0]) == 8 * len(rows)
    else:
        scores = list(answer.outputs[0].contents.fp64_contents)
        assert scores == over_http["outputs"][0]["data"]
        assert scores == [one["score"] for one in shared_gateway.predict(*rows)]


def _far_time(sent: Any) -> None:
    tensor = sent.inputs.add(name="transaction_time", datatype="INT64", shape=[1])
    tensor.contents.int64_contents.append(0)


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (lambda m: m.__setattr__("model_name", "nobody"), "NOT_FOUND", "no model 'nobody'"),
        (lambda m: m.__setattr__("model_version", "7"), "NOT_FOUND", "version 1 does"),
        (
            lambda m: m.inputs[2].contents.fp64_contents.__setitem__(0, -1.0),
            "INVALID_ARGUMENT",
            "inputs[amount].data[0]: found -1.0, expected a finite number",
        ),
        (_far_time, "INVALID_ARGUMENT", "inputs[transaction_time].data[0]"),
        # The limit of a body over HTTP. gRPC's core refuses it before the gateway.
        (lambda m: m.__setattr__("id", "x" * 1_048_577), "RESOURCE_EXHAUSTED", "1048576"),
    ],
)
def test_a_refused_call_has_the_code_and_the_text_of_its_reason(
    change: Callable[[Any], None], code: str, said: str, call: dict[str, Any]
) -> None:
    sent = message(MODEL, ROW, raw=False)
    change(sent)
    error: Any = refused(call["ModelInfer"], sent)
    assert error.code().name == code
    assert said in error.details()


def test_a_caller_with_the_time_key_may_choose_the_time(call: dict[str, Any]) -> None:
    sent = message(MODEL, ROW, raw=False)
    _far_time(sent)
    key = (("authorization", f"Bearer {TIME_KEY}"),)
    assert call["ModelInfer"](sent, metadata=key).model_version == "1"


def test_a_trace_leads_from_the_metadata_to_the_prediction_log(
    call: dict[str, Any], online_redis: RedisServer
) -> None:
    trace_id = CALLERS[::-1]
    metadata = (("traceparent", f"00-{trace_id}-00f067aa0ba902b7-01"),)
    _, done = call["ModelInfer"].with_call(message(MODEL, COLUMNS), metadata=metadata)
    assert dict(done.trailing_metadata())["traceresponse"].startswith(f"00-{trace_id}-")
    wait_until(
        lambda: (
            sum(e.trace_id == trace_id for e in logged_predictions(online_redis.url))
            == len(COLUMNS["amount"])
        ),
        5,
        "both rows are in the event log under the trace",
    )
    error: Any = refused(call["ModelInfer"], message("nobody", ROW), metadata=metadata)
    assert dict(error.trailing_metadata())["traceresponse"].startswith(f"00-{trace_id}-")


def test_a_port_is_not_shared_with_a_second_gateway(shared_gateway: GatewayServer) -> None:
    """By default, gRPC on Linux would give each of them half of the calls."""
    alone: Any = SimpleNamespace(max_body_bytes=1024)
    door = GrpcDoor(alone, alone)

    async def open_and_close() -> None:
        await door.open("127.0.0.1", shared_gateway.grpc_port, is_shared=False)
        await door.close()  # an open door would take calls of other tests

    with pytest.raises(RuntimeError, match=str(shared_gateway.grpc_port)):
        asyncio.run(open_and_close())


def test_models_out_of_order_deadlines_limits_and_the_end(
    breakable_redis: RedisServer, start_gateway: StartGateway, tmp_path: Path
) -> None:
    specs = tmp_path / "models"
    specs.mkdir()
    text = Path(f"models/{MODEL}.yaml").read_text()
    changed = text.replace("deadline: 100ms", f"deadline: {DEADLINE_SECONDS}s")
    assert changed != text
    (specs / f"{MODEL}.yaml").write_text(changed)
    (specs / "broken.yaml").write_text("name: broken\ntask: prophecy\n")
    slow = tmp_path / "slow"
    versions = {"1": (slow, make_slow_bundle(slow, ROW_SECONDS, slow_from=-10.0))}
    gateway = start_gateway(
        breakable_redis.url, versions=versions, models_dir=specs, max_in_flight=MAX_IN_FLIGHT
    )
    wait_until(lambda: gateway.request("GET", "/readyz")[0] == 200, 60, "version 1 serves")

    def in_flight() -> float:
        return gateway.metric("dojo_gateway_in_flight_requests")

    with grpc.insecure_channel(gateway.grpc_address) as channel:
        call = methods(channel)
        error: Any = refused(call["ModelInfer"], message("broken", ROW))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert "broken.yaml:2: task: must be one of" in error.details()
        ready = call["ModelReady"](CLASSES["ModelReadyRequest"](name=MODEL))
        assert ready.ready

        # The caller's deadline is shorter than the spec's, and than the row.
        error = refused(call["ModelInfer"], message(MODEL, ROW), timeout=ROW_SECONDS / 3)
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        wait_until(lambda: in_flight() == 0, 5, "the call has left the gateway")
        gone = {"code": str(CALLER_GONE), "model": MODEL}
        assert gateway.metric("dojo_gateway_requests_total", **gone) == 1

        calls = [call["ModelInfer"].future(message(MODEL, ROW)) for _ in range(MAX_IN_FLIGHT)]
        wait_until(lambda: in_flight() == MAX_IN_FLIGHT, 5, "both are being answered", every=0.005)
        error = refused(call["ModelInfer"], message(MODEL, ROW))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "DOJO_MAX_IN_FLIGHT" in error.details()
        assert dict(error.trailing_metadata())["grpc-retry-pushback-ms"] == "1000"

        gateway.signal(signal.SIGTERM)
        assert [one.result(10).model_version for one in calls] == ["1", "1"]
        assert gateway.process is not None
        assert gateway.process.wait(10) == 0
        error = refused(call["ModelInfer"], message(MODEL, ROW))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert len(logged_predictions(breakable_redis.url)) == len(calls)
