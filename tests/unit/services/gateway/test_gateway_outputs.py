"""Outputs of the Open Inference Protocol V2: which ones, in which order, as JSON or as bytes."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dojo.core.tasks.records import AnswerColumn
from dojo.core.tasks.specs import load_spec, task_of
from services.gateway.messages.answers import AnswerSchema
from services.gateway.messages.outputs import WantedOutput, outputs_of, wanted_outputs
from services.gateway.messages.problems import Problem
from services.gateway.messages.tensors import decode_request

SPEC = load_spec(Path("models/fraud_detection.yaml"))
SCHEMA = AnswerSchema(SPEC.name, task_of(SPEC))


def wanted(**request: Any) -> list[tuple[str, bool]]:
    message = decode_request(json.dumps({"inputs": [], **request}).encode())
    return [(one.column.name, one.binary) for one in wanted_outputs(SCHEMA, message)]


def refused(**request: Any) -> list[tuple[str, str, str]]:
    with pytest.raises(Problem) as problem:
        wanted(**request)
    assert problem.value.status == 422
    return [(error.field, error.found, error.expected) for error in problem.value.errors]


def output(name: str, **parameters: object) -> dict[str, object]:
    return {"name": name, "parameters": parameters}


def test_without_names_all_outputs_are_wanted_as_json() -> None:
    everything = [("score", False), ("flagged", False)]
    assert wanted() == wanted(outputs=[]) == everything
    assert wanted(parameters={"binary_data_output": False, "priority": 3}) == everything


def test_only_the_named_outputs_are_wanted_in_their_order() -> None:
    assert wanted(outputs=[{"name": "flagged"}]) == [("flagged", False)]
    assert wanted(outputs=[output("flagged"), output("score")]) == [
        ("flagged", False),
        ("score", False),
    ]


def test_an_outputs_own_form_goes_before_the_requests() -> None:
    all_binary = {"binary_data_output": True}
    assert wanted(parameters=all_binary) == [("score", True), ("flagged", True)]
    mixed = [output("score"), output("flagged", binary_data=False)]
    assert wanted(parameters=all_binary, outputs=mixed) == [("score", True), ("flagged", False)]
    assert wanted(outputs=[output("score", binary_data=True)]) == [("score", True)]


def test_an_unknown_output_is_refused_with_the_known_ones() -> None:
    assert refused(outputs=[output("scores"), output("flagged")]) == [
        ("outputs[scores]", "an output", "one of score, flagged")
    ]


def test_an_output_that_is_named_twice_is_refused() -> None:
    assert refused(outputs=[output("score"), output("score", binary_data=True)]) == [
        ("outputs[score]", "2 outputs", "one output")
    ]


@pytest.mark.parametrize(
    ("request_part", "field"),
    [
        ({"outputs": [output("score", binary_data=1)]}, "outputs[0].parameters.binary_data"),
        ({"outputs": [output("score", classification=2)]}, "outputs[0].parameters.classification"),
        (
            {"outputs": [output("score", shared_memory_region="a")]},
            "outputs[0].parameters.shared_memory_region",
        ),
        ({"outputs": [{}]}, "outputs[0]"),
        ({"parameters": {"binary_data_output": "yes"}}, "parameters.binary_data_output"),
    ],
)
def test_a_form_that_the_gateway_cannot_give_is_refused(
    request_part: dict[str, Any], field: str
) -> None:
    assert [found for found, *_ in refused(**request_part)] == [field]


def test_each_datatype_follows_the_json_as_little_endian_bytes() -> None:
    columns = [
        WantedOutput(AnswerColumn("score", float, "FP64", 0.5), binary=True),
        WantedOutput(AnswerColumn("flagged", bool, "BOOL", True), binary=True),
        WantedOutput(AnswerColumn("label", str, "BOOL", False)),
        WantedOutput(AnswerColumn("rank", int, "INT64", 1), binary=True),
    ]
    answers = [
        SimpleNamespace(score=0.25, flagged=True, label=False, rank=-2),
        SimpleNamespace(score=1e-300, flagged=False, label=True, rank=2**62),
    ]
    tensors, behind = outputs_of(columns, answers)
    assert behind == struct.pack("<dd??qq", 0.25, 1e-300, True, False, -2, 2**62)
    assert [tensor.parameters.get("binary_data_size") for tensor in tensors] == [16, 2, None, 16]
    assert [tensor.shape for tensor in tensors] == [[2]] * 4
    assert tensors[2].data == [False, True]
