"""Standard clients of the Open Inference Protocol V2, unmodified, against a real gateway."""

from __future__ import annotations

import http.client
import json
import struct
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients.environments import client_environment
from tests.support.gateways import MODEL, GatewayServer

pytestmark = pytest.mark.integration

COLUMNS = {
    "customer_id": ["c1", "c2", "c3"],
    "merchant_id": ["m1", "m2", "m3"],
    "amount": [81.5, 3.0, 240.25],
}
ROWS = [dict(zip(COLUMNS, row, strict=True)) for row in zip(*COLUMNS.values(), strict=True)]


def tensors(row: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "datatype": "BYTES" if isinstance(value, str) else "FP64",
            "shape": [1],
            "data": [value],
        }
        for name, value in row.items()
    ]


def predicted(gateway: GatewayServer) -> dict[str, list[Any]]:
    """Return what `:predict` answers for the same instances."""
    answers = gateway.predict(*ROWS)
    assert len({answer["score"] for answer in answers}) == len(ROWS), "a mix-up would show"
    return {name: [answer[name] for answer in answers] for name in ("score", "flagged")}


def test_tritonclient_sends_tensors_as_bytes_and_chooses_its_outputs(
    shared_gateway: GatewayServer,
) -> None:
    client = client_environment("tritonclient")
    found = client.call("call_tritonclient.py", shared_gateway.url, MODEL, json.dumps(COLUMNS))
    expected = predicted(shared_gateway)
    assert (found["live"], found["ready"], found["version_ready"]) == (True, True, True)
    assert found["extensions"] == ["binary_tensor_data"]
    assert set(found["inputs"]) == {*COLUMNS, "request_id", "transaction_time"}
    for call, order, as_bytes in (
        ("all", ["score", "flagged"], ["score", "flagged"]),
        ("chosen", ["flagged", "score"], ["flagged", "score"]),
        ("mixed", ["score", "flagged"], ["score"]),
    ):
        assert found[call]["values"] == expected
        assert list(found[call]["values"]) == order
        assert found[call]["bytes"] == as_bytes
        assert found[call]["types"] == {"score": "float64", "flagged": "bool"}
    status, message = found["refused"]
    assert status == "422"
    assert "outputs[scores]: found an output, expected one of score, flagged" in message


def test_tritonclient_gets_the_same_scores_over_grpc(shared_gateway: GatewayServer) -> None:
    client = client_environment("tritonclient")
    address = shared_gateway.grpc_address
    found = client.call("call_tritonclient_grpc.py", address, MODEL, json.dumps(COLUMNS))
    assert (found["live"], found["ready"], found["version_ready"]) == (True, True, True)
    assert found["server"] == "mlops-dojo-gateway"
    assert set(found["inputs"]) == {*COLUMNS, "request_id", "transaction_time"}
    assert found["all"] == predicted(shared_gateway)
    assert list(found["all"]) == ["score", "flagged"]
    assert found["types"] == {"score": "float64", "flagged": "bool"}
    assert found["chosen"] == {"flagged": found["all"]["flagged"]}
    assert found["id"] == "call-1"
    status, message = found["refused"]
    assert status == "StatusCode.INVALID_ARGUMENT"
    assert "outputs[scores]: found an output, expected one of score, flagged" in message


def test_kserves_clients_get_the_same_scores_with_values_and_with_bytes(
    shared_gateway: GatewayServer,
) -> None:
    client = client_environment("kserve")
    addresses = (shared_gateway.url, shared_gateway.grpc_address)
    found = client.call("call_kserve.py", *addresses, MODEL, json.dumps(COLUMNS))
    assert (found["live"], found["ready"], found["model_ready"]) == (True, True, True)
    assert found["json"] == found["bytes"] == predicted(shared_gateway)
    assert list(found["bytes"]) == ["flagged", "score"]
    assert [found[f"grpc_{of}"] for of in ("live", "ready", "model_ready")] == [True] * 3
    assert found["grpc_typed"] == found["grpc_raw"] == found["json"]
    assert list(found["grpc_raw"]) == ["flagged", "score"]


@pytest.mark.parametrize("form", [(), ("--binary-data",)])
def test_mlserver_infer_scores_a_file_in_batches(
    form: tuple[str, ...], shared_gateway: GatewayServer, tmp_path: Path
) -> None:
    """The third line is alone in its batch."""
    client = client_environment("mlserver")
    lines = [{"id": f"line-{at}", "inputs": tensors(row)} for at, row in enumerate(ROWS)]
    questions, answers = tmp_path / "questions.jsonl", tmp_path / "answers.jsonl"
    questions.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    address = shared_gateway.url.removeprefix("http://")
    where = ("--url", address, "--model-name", MODEL, "--batch-size", 2)
    files = ("--input-data-path", questions, "--output-data-path", answers)
    done = client.run("mlserver", "infer", *where, *files, *form)
    assert done.returncode == 0, done.stderr
    found = {one["id"]: one for one in map(json.loads, answers.read_text().splitlines())}
    expected = predicted(shared_gateway)
    for at, line in enumerate(lines):
        outputs = {one["name"]: one["data"] for one in found[line["id"]]["outputs"]}
        assert outputs == {name: [values[at]] for name, values in expected.items()}


def test_outputs_as_bytes_follow_the_json_of_their_answer(shared_gateway: GatewayServer) -> None:
    """Without a client's package, so that this holds on every machine."""
    connection = http.client.HTTPConnection("127.0.0.1", shared_gateway.port, timeout=10)
    body = {"inputs": tensors(ROWS[0]), "parameters": {"binary_data_output": True}}
    connection.request("POST", f"/v2/models/{MODEL}/infer", json.dumps(body))
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    length = int(answer.headers["Inference-Header-Content-Length"])
    expected = predicted(shared_gateway)
    assert content[length:] == struct.pack("<d?", expected["score"][0], expected["flagged"][0])
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert "traceresponse" in answer.headers
    outputs = json.loads(content[:length])["outputs"]
    assert outputs == [
        {
            "name": "score",
            "shape": [1],
            "datatype": "FP64",
            "parameters": {"binary_data_size": 8},
        },
        {
            "name": "flagged",
            "shape": [1],
            "datatype": "BOOL",
            "parameters": {"binary_data_size": 1},
        },
    ]
