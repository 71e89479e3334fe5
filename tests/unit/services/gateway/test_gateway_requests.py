from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dojo.core.tasks.specs import load_spec
from feature_repo import catalog, offers, searches, suggestions
from services.gateway.messages.problems import Problem
from services.gateway.messages.requests import Instance, InstanceSchema

SCHEMA = InstanceSchema(load_spec(Path("models/fraud_detection.yaml")))
GOOD = {"customer_id": "c1", "merchant_id": "m1", "amount": 3}

ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**40), 10**40),
    st.floats(),
    st.text(max_size=300),
    st.just("2018-06-15T11:30:00Z"),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
INSTANCES = st.dictionaries(
    st.sampled_from(
        ["customer_id", "merchant_id", "amount", "transaction_time", "request_id", "other"]
    ),
    ANYTHING,
).map(lambda changes: {**GOOD, **changes})


def outcome(body: bytes) -> tuple[Sequence[Instance], Problem | None]:
    try:
        return SCHEMA.decode(body), None
    except Problem as problem:
        return (), problem


@given(st.lists(INSTANCES, max_size=3))
def test_every_refusal_names_a_field_and_what_is_named_is_wrong(
    instances: list[dict[str, object]],
) -> None:
    body = json.dumps({"instances": instances}).encode()
    decoded, problem = outcome(body)
    if problem is not None:
        assert problem.status == 422
        assert problem.errors
        assert b"instances" in msgspec.json.encode(problem.document())
        return
    assert len(decoded) == len(instances) > 0
    for found, sent in zip(decoded, instances, strict=True):
        assert isinstance(found.amount, float)  # type: ignore[attr-defined]
        assert found.customer_id == sent["customer_id"]  # type: ignore[attr-defined]


def test_a_right_instance_is_typed() -> None:
    (found,) = SCHEMA.decode(
        json.dumps(
            {"instances": [{**GOOD, "transaction_time": "2018-06-15T13:30:00+02:00"}]}
        ).encode()
    )
    assert found.transaction_time == datetime(2018, 6, 15, 11, 30, tzinfo=UTC)
    assert found.request_id is None


def test_the_schema_follows_the_spec() -> None:
    assert set(SCHEMA.required) == {"customer_id", "merchant_id", "amount"}
    merchant_only = InstanceSchema(
        load_spec(Path("models/fraud_detection.yaml")).model_copy(
            update={"entities": ("merchant",)}
        )
    )
    with pytest.raises(Problem) as refused:
        merchant_only.decode(json.dumps({"instances": [GOOD]}).encode())
    assert [error.field for error in refused.value.errors] == ["instances[0].customer_id"]


# A right instance of each model that decides about lists and prices.
SHOWN: dict[str, dict[str, object]] = {
    "search_ranking": {"customer_id": "c", "product_id": "p", "match": 0.5, "price": 9.9},
    "recommendation": {"customer_id": "c", "product_id": "p", "interest": 1, "price": 9.9},
    "demand": {"product_id": "p", "price": 9.9, "regular_price": 11, "category": "fuel"},
}


@pytest.fixture(params=SHOWN)
def model(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a model whose features are in the catalogue."""
    for service in (*searches.SERVICES, *suggestions.SERVICES, *offers.SERVICES):
        monkeypatch.setitem(catalog.SERVICES, service.name, service)
    return str(request.param)


def refused_fields(model: str, instances: Sequence[object]) -> list[str]:
    """Return the fields that a refusal names, none for an accepted request."""
    schema = InstanceSchema(load_spec(Path(f"models/{model}.yaml")))
    try:
        schema.decode(json.dumps({"instances": instances}).encode())
    except Problem as problem:
        return [error.field for error in problem.errors]
    return []


@pytest.mark.parametrize("changes", [{}, {"price": 0}, {"product_id": "unknown"}])
def test_a_list_of_one_a_price_of_zero_and_an_unknown_product_are_accepted(
    model: str, changes: dict[str, object]
) -> None:
    assert refused_fields(model, [{**SHOWN[model], **changes}]) == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"price": -1}, "price"),
        ({"price": None}, "price"),
        ({"price": "9.90"}, "price"),
        ({"product_id": ""}, "product_id"),
        ({"product_id": ["p", "q"]}, "product_id"),
        ({"position": 1}, "position"),
    ],
)
def test_a_wrong_candidate_refuses_the_list_with_its_place_and_field(
    model: str, changes: dict[str, object], field: str
) -> None:
    right = SHOWN[model]
    assert refused_fields(model, [right, {**right, **changes}]) == [f"instances[1].{field}"]


@pytest.mark.parametrize("candidates", [0, 1001])
def test_a_list_without_candidates_or_with_too_many_is_refused(model: str, candidates: int) -> None:
    assert refused_fields(model, [SHOWN[model]] * candidates) == ["instances"]
