"""gRPC messages become the structs of the HTTP door, and answers become messages."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from dojo.core.tasks.specs import load_spec, task_of
from services.gateway.messages.answers import AnswerSchema
from services.gateway.messages.outputs import all_outputs, outputs_of, wanted_outputs
from services.gateway.messages.problems import Problem, overloaded, unknown_model, wrong_spec
from services.gateway.messages.requests import InstanceSchema
from services.gateway.messages.tensors import instances_of
from services.gateway.messages.v2_structs import InferAnswer
from services.gateway.rpc.convert import infer_request, infer_response
from services.gateway.rpc.protocol import CLASSES
from services.gateway.rpc.server import status_of
from tests.support.answers import FLEET
from tests.support.grpc_calls import message

SPEC = load_spec(Path("models/fraud_detection.yaml"))
SCHEMA, ANSWERS = InstanceSchema(SPEC), AnswerSchema(SPEC.name, task_of(SPEC))
COLUMNS = {"customer_id": ["c1", "ü"], "merchant_id": ["m1", "m2"], "amount": [81.5, 3.0]}


def read(sent: Any) -> list[Any]:
    request = infer_request(CLASSES["ModelInferRequest"].FromString(sent.SerializeToString()))
    wanted_outputs(ANSWERS, request)
    return list(instances_of(SCHEMA, request.inputs, request.id))


@pytest.mark.parametrize("raw", [True, False])
def test_raw_and_typed_contents_are_the_same_instances(raw: bool) -> None:
    found = read(message(SPEC.name, COLUMNS, raw))
    assert [(one.customer_id, one.merchant_id, one.amount) for one in found] == [
        ("c1", "m1", 81.5),
        ("ü", "m2", 3.0),
    ]


@pytest.mark.parametrize(
    ("datatype", "field"),
    [
        ("FP32", "fp32_contents"),
        ("INT8", "int_contents"),
        ("INT64", "int64_contents"),
        ("UINT16", "uint_contents"),
        ("UINT64", "uint64_contents"),
    ],
)
def test_every_datatype_of_numbers_has_its_field(datatype: str, field: str) -> None:
    sent = message(SPEC.name, COLUMNS, raw=False)
    amount = sent.inputs[2]
    amount.datatype = datatype
    amount.contents.ClearField("fp64_contents")
    getattr(amount.contents, field).extend([81, 3])
    assert [one.amount for one in read(sent)] == [81.0, 3.0]


def _first_text(value: bytes) -> Callable[[Any], None]:
    def change(sent: Any) -> None:
        sent.inputs[0].contents.bytes_contents[0] = value

    return change


@pytest.mark.parametrize(
    ("raw", "change", "field", "said"),
    [
        (True, lambda m: m.raw_input_contents.pop(), "raw_input_contents", "2 parts"),
        (
            True,
            lambda m: m.inputs[2].contents.fp64_contents.append(1.0),
            "inputs[amount].contents",
            "beside raw_input_contents",
        ),
        (
            True,
            lambda m: m.raw_input_contents.__setitem__(2, b"\0" * 9),
            "inputs[amount]",
            "9 bytes",
        ),
        (
            False,
            lambda m: m.inputs[2].contents.int64_contents.append(1),
            "inputs[amount].contents",
            "int64_contents",
        ),
        (False, _first_text(b"\xff"), "inputs[customer_id]", "not UTF-8"),
        (False, _first_text(b""), "inputs[customer_id].data[0]", '""'),
        (
            False,
            lambda m: m.inputs[2].contents.fp64_contents.pop(),
            "inputs[amount].shape",
            "shape [2] with 1 values",
        ),
        (
            True,
            lambda m: (
                m.outputs.add(name="score")
                .parameters["classification"]
                .__setattr__("int64_param", 2)
            ),
            "outputs[0].parameters.classification",
            "",
        ),
        (True, lambda m: m.outputs.add(name="scores"), "outputs[scores]", "an output"),
    ],
)
def test_a_wrong_request_is_refused_with_its_field(
    raw: bool, change: Callable[[Any], None], field: str, said: str
) -> None:
    sent = message(SPEC.name, COLUMNS, raw)
    change(sent)
    with pytest.raises(Problem) as refused:
        read(sent)
    (error,) = refused.value.errors
    assert error.field == field
    assert said in error.found


@pytest.mark.parametrize("raw", [True, False])
def test_an_answer_has_the_form_of_its_request(raw: bool) -> None:
    """An output's `binary_data`, which KServe's client sends, chooses nothing here."""
    sent = message(SPEC.name, COLUMNS, raw, id="call-1")
    for name in ("flagged", "score"):
        sent.outputs.add(name=name).parameters["binary_data"].bool_param = not raw
    request = infer_request(sent)
    given = [ANSWERS.example(score=0.25, flagged=False), ANSWERS.example(score=0.75, flagged=True)]
    outputs, behind = outputs_of(wanted_outputs(ANSWERS, request), given)
    answer = InferAnswer(SPEC.name, "3", {"degraded": "cold_start"}, outputs, request.id or "")
    made = infer_response(answer, behind)
    assert (made.model_name, made.model_version, made.id) == (SPEC.name, "3", "call-1")
    assert made.parameters["degraded"].string_param == "cold_start"
    assert [(one.name, one.datatype, list(one.shape)) for one in made.outputs] == [
        ("flagged", "BOOL", [2]),
        ("score", "FP64", [2]),
    ]
    if raw:
        assert list(made.raw_output_contents) == [
            b"\0\1",
            b"\0\0\0\0\0\0\xd0\x3f\0\0\0\0\0\0\xe8\x3f",
        ]
    else:
        assert not made.raw_output_contents
        assert list(made.outputs[0].contents.bool_contents) == [False, True]
        assert list(made.outputs[1].contents.fp64_contents) == [0.25, 0.75]


@pytest.mark.parametrize("raw", [True, False])
def test_a_number_that_an_answer_does_not_know_is_nan_and_null_in_json(raw: bool) -> None:
    """The fallback knows no interval."""
    task = task_of(load_spec(FLEET / "expected_amount.yaml"))
    answers = AnswerSchema("expected_amount", task)
    given = [answers.example(**dict(zip(("value", "low", "high"), one.values, strict=True)))
             for one in task.answers([50.0], [None])]  # fmt: skip
    outputs, behind = outputs_of(all_outputs(answers, binary=raw), given)
    made = infer_response(InferAnswer("expected_amount", "0", {}, outputs), behind)
    parts = (
        np.frombuffer(b"".join(made.raw_output_contents))
        if raw
        else [value for one in made.outputs for value in one.contents.fp64_contents]
    )
    np.testing.assert_array_equal(parts, [50.0, np.nan, np.nan])
    assert raw or [one.data for one in outputs] == [[50.0], [None], [None]]


@pytest.mark.parametrize(
    ("problem", "code", "hints"),
    [
        (unknown_model("x", ["y"]), grpc.StatusCode.NOT_FOUND, ()),
        (wrong_spec("x", "why"), grpc.StatusCode.UNAVAILABLE, ()),
        (
            overloaded("2 requests", 1),
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            (("grpc-retry-pushback-ms", "1000"),),
        ),
        (
            Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal-error", "why"),
            grpc.StatusCode.INTERNAL,
            (),
        ),
    ],
)
def test_each_refusal_has_its_status(
    problem: Problem, code: grpc.StatusCode, hints: object
) -> None:
    assert status_of(problem) == (code, problem.detail, hints)
