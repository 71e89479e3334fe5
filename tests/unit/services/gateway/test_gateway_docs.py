"""The OpenAPI document is valid and its examples fit its schemas.

It allows exactly the requests that the gateway accepts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openapi_spec_validator
import pytest
from openapi_schema_validator import OAS31Validator

from dojo.core.settings import Settings
from dojo.core.spec.read import SpecError
from dojo.core.tasks.specs import load_spec, task_of
from feature_repo import catalog
from services.gateway.app import build
from services.gateway.messages.answers import AnswerSchema
from services.gateway.messages.outputs import wanted_outputs
from services.gateway.messages.problems import Problem
from services.gateway.messages.requests import MAX_INSTANCES, InstanceSchema
from services.gateway.messages.tensors import decode_request, instances_of
from tests.support.further_features import PULSE, SERVICES, write_specs

SPEC = load_spec(Path("models/fraud_detection.yaml"))
SCHEMA, ANSWERS = InstanceSchema(SPEC), AnswerSchema(SPEC.name, task_of(SPEC))
PREDICT, INFER = "/v1/models/fraud_detection:predict", "/v2/models/fraud_detection/infer"

Document = dict[str, Any]


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Document:
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for service in SERVICES:
            patch.setitem(catalog.SERVICES, service.name, service)
            for feature in (*service.request.features, *PULSE.features):
                patch.setitem(catalog.FEATURES, feature.name, feature)
        patch.setitem(catalog.VIEWS, PULSE.name, PULSE)
        settings = Settings(home=home, models_dir=write_specs(home / "models"))
        app = build(settings, home / "gateway").app
    found: Document = json.loads(json.dumps(app.openapi()))
    assert json.loads(json.dumps(app.openapi())) == found, "the second answer is the first"
    return found


def errors_of(document: Document, schema: Document, value: object) -> list[str]:
    validator = OAS31Validator(
        {**schema, "components": document["components"]},
        format_checker=OAS31Validator.FORMAT_CHECKER,
    )
    return [error.message for error in validator.iter_errors(value)]


def body_schema(document: Document, path: str) -> Document:
    schema: Document = document["paths"][path]["post"]["requestBody"]["content"][
        "application/json"
    ]["schema"]
    return schema


def is_accepted(decode: Callable[[], object]) -> bool:
    try:
        decode()
    except Problem:
        return False
    return True


def operations(document: Document) -> Iterator[tuple[str, Document]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method} {path}", operation


def test_the_document_is_valid_openapi(document: Document) -> None:
    """Each `{name}` of a path must be a parameter. Otherwise no client can be generated."""
    openapi_spec_validator.validate(document)
    versioned = document["paths"]["/v2/models/fraud_detection/versions/{version}/ready"]["get"][
        "parameters"
    ]
    assert [parameter["name"] for parameter in versioned] == ["version"]


def test_each_model_has_paths_and_schemas_of_its_own(document: Document) -> None:
    fields = {}
    for model in ("fraud_detection", "returns", "habits"):
        reference = body_schema(document, f"/v1/models/{model}:predict")["$ref"].rpartition("/")[2]
        instances = document["components"]["schemas"][reference]["properties"]["instances"][
            "items"
        ]["$ref"].rpartition("/")[2]
        fields[model] = set(document["components"]["schemas"][instances]["properties"])
    assert fields == {
        "fraud_detection": {
            "customer_id",
            "merchant_id",
            "amount",
            "transaction_time",
            "request_id",
        },
        "returns": {"customer_id", "items", "channel", "checkout_time", "request_id"},
        "habits": {"customer_id", "request_time", "request_id"},
    }
    assert not [path for path in document["paths"] if "{model}" in path]


def test_a_model_whose_feature_service_is_unknown_is_refused_with_what_there_is() -> None:
    spec = load_spec(Path("models/fraud_detection.yaml")).model_copy(
        update={"feature_service": "fraud_detection_v9"}
    )
    with pytest.raises(
        SpecError,
        match="'fraud_detection_v9' is not in the catalogue, which has fraud_detection_v1",
    ):
        InstanceSchema(spec)


def test_every_example_is_what_its_schema_says(document: Document) -> None:
    checked = 0
    for name, operation in operations(document):
        for body in (operation.get("requestBody", {}), *operation["responses"].values()):
            for content in body.get("content", {}).values():
                examples = [content["example"]] if "example" in content else []
                examples += [example["value"] for example in content.get("examples", {}).values()]
                for example in examples:
                    assert errors_of(document, content["schema"], example) == [], name
                    checked += 1
    assert checked > 40


def test_an_example_keeps_what_is_null(document: Document) -> None:
    answers = document["paths"][PREDICT]["post"]["responses"]["200"]["content"]["application/json"][
        "examples"
    ]
    assert answers["whole"]["value"]["predictions"][0]["degraded"] is None


GOOD = {"customer_id": "c1", "merchant_id": "m1", "amount": 3}


@pytest.mark.parametrize(
    ("change", "accepted"),
    [
        ({}, True),
        ({"transaction_time": None}, True),
        ({"transaction_time": "2018-06-15T13:30:00+02:00"}, True),
        ({"transaction_time": "2018-06-15T13:30:00"}, False),
        ({"transaction_time": 1529062200}, False),
        ({"request_id": None}, True),
        ({"request_id": ""}, False),
        ({"customer_id": "c" * 257}, False),
        ({"customer_id": 7}, False),
        ({"amount": 0.5}, True),
        ({"amount": -1}, False),
        ({"amount": 1e13}, False),
        ({"amount": "3"}, False),
        ({"amount": None}, False),
        ({"colour": "red"}, False),
    ],
)
def test_the_document_allows_the_instances_that_are_accepted(
    document: Document, change: Document, accepted: bool
) -> None:
    body = {"instances": [{**GOOD, **change}]}
    assert (not errors_of(document, body_schema(document, PREDICT), body)) is accepted
    assert is_accepted(lambda: SCHEMA.decode(json.dumps(body).encode())) is accepted


@pytest.mark.parametrize(
    ("count", "accepted"),
    [(0, False), (1, True), (MAX_INSTANCES, True), (MAX_INSTANCES + 1, False)],
)
def test_the_document_says_how_many_instances(
    document: Document, count: int, accepted: bool
) -> None:
    body = {"instances": [GOOD] * count}
    assert (not errors_of(document, body_schema(document, PREDICT), body)) is accepted
    assert is_accepted(lambda: SCHEMA.decode(json.dumps(body).encode())) is accepted


def tensors(**changes: Document | None) -> Document:
    columns: Document = {
        "customer_id": {"datatype": "BYTES", "shape": [1], "data": ["c1"]},
        "merchant_id": {"datatype": "BYTES", "shape": [1, 1], "data": [["m1"]]},
        "amount": {"datatype": "FP64", "shape": [1], "data": [81.5]},
        **changes,
    }
    return {"inputs": [{"name": name, **tensor} for name, tensor in columns.items() if tensor]}


@pytest.mark.parametrize(
    ("body", "accepted"),
    [
        (tensors(), True),
        (tensors(transaction_time={"datatype": "INT64", "shape": [1], "data": [1529062200]}), True),
        (tensors(amount={"datatype": "INT64", "shape": [1], "data": [3]}), True),
        ({"inputs": []}, False),
        ({}, False),
        (tensors(merchant_id=None), False),
        (tensors(amount={"datatype": "BYTES", "shape": [1], "data": ["3"]}), False),
        (tensors(amount={"datatype": "FP64", "shape": [], "data": []}), False),
        (tensors(amount={"datatype": "FP64", "shape": [1, 1, 1], "data": [[[3]]]}), False),
        (tensors(colour={"datatype": "BYTES", "shape": [1], "data": ["red"]}), False),
        (tensors(colour={"datatype": "BYTES", "shape": [1], "data": ["red"]}, amount=None), False),
        ({"inputs": [*tensors()["inputs"], tensors()["inputs"][0]]}, False),
        (tensors(amount={"datatype": "FP64", "shape": [0], "data": [3]}), False),
        (tensors(amount={"datatype": "FP64", "shape": [1]}), False),
        (tensors(amount={"datatype": "FP64", "shape": [1, 1], "data": [[0]]}), True),
        (tensors(amount={"datatype": "FP64", "shape": [1], "data": [-1]}), False),
        (tensors(amount={"datatype": "FP64", "shape": [1], "data": ["3"]}), False),
        (tensors(customer_id={"datatype": "BYTES", "shape": [1], "data": [""]}), False),
        (tensors(request_id={"datatype": "BYTES", "shape": [1], "data": ["tx-1"]}), True),
        (tensors(request_id={"datatype": "BYTES", "shape": [1], "data": [7]}), False),
        # JSON Schema calls 1.0 an integer.
        (tensors(amount={"datatype": "FP64", "shape": [1.0], "data": [3]}), True),
        (tensors(amount={"datatype": "FP64", "shape": [1.5], "data": [3]}), False),
        (tensors(amount={"datatype": "INT8", "shape": [1], "data": [3.0]}), True),
        (tensors(amount={"datatype": "INT8", "shape": [1], "data": [3.5]}), False),
        (tensors(transaction_time={"datatype": "INT64", "shape": [1], "data": [False]}), False),
        (tensors(transaction_time={"datatype": "BYTES", "shape": [1], "data": [7]}), False),
        ({**tensors(), "outputs": []}, True),
        ({**tensors(), "outputs": [{"name": "flagged"}, {"name": "score"}]}, True),
        ({**tensors(), "outputs": [{"name": "scores"}]}, False),
        ({**tensors(), "outputs": [{"name": "score"}, {"name": "score"}]}, False),
        ({**tensors(), "outputs": [{"parameters": {}}]}, False),
        ({**tensors(), "outputs": [{"name": "score", "parameters": {"binary_data": 1}}]}, False),
        ({**tensors(), "parameters": {"binary_data_output": True, "priority": 1}}, True),
        ({**tensors(), "parameters": {"binary_data_output": "yes"}}, False),
    ],
)
def test_the_document_allows_the_tensors_that_are_accepted(
    document: Document, body: Document, accepted: bool
) -> None:
    assert (not errors_of(document, body_schema(document, INFER), body)) is accepted

    def decode() -> None:
        request = decode_request(json.dumps(body).encode())
        wanted_outputs(ANSWERS, request)
        instances_of(SCHEMA, request.inputs)

    assert is_accepted(decode) is accepted
