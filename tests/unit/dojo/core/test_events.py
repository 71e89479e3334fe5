"""Events pass the log unchanged, and an invalid event is refused with its field's name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dojo.core.events.streams import EVENT_TYPES, LAKE_TYPES, MalformedEventError, decode, encode
from dojo.core.events.types import Event, Outcome, Prediction, Shadow, Stream
from dojo.shop.events import EVENTS, TRANSACTIONS, Transaction

NOW = datetime(2018, 6, 10, 12, 30, 15, 123456, tzinfo=UTC)

# Hypothesis adds the zone.
times = st.datetimes(
    datetime(1971, 1, 1),  # noqa: DTZ001
    datetime(2100, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)
texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
finite = st.floats(allow_nan=False, allow_infinity=False)
base = {"event_id": texts, "world_time": times, "wall_time": times}

transactions = st.builds(
    Transaction,
    **base,
    transaction_id=texts,
    customer_id=texts,
    merchant_id=texts,
    amount=st.floats(0, 1e9),
)
outcomes = st.builds(
    Outcome, **base, model=texts, request_id=texts, request_time=times, label=finite
)
predictions = st.builds(
    Prediction,
    **base,
    **dict.fromkeys(("prediction_id", "request_id", "model", "version", "arm"), texts),
    entity_keys=st.dictionaries(texts, texts),
    features=st.dictionaries(texts, finite),
    feature_age_seconds=st.dictionaries(texts, st.none() | finite),
    score=finite,
    flagged=st.booleans(),
    latency_seconds=finite,
    degraded=st.lists(texts).map(tuple),
    route_generation=st.integers(0, 2**40),
)
shadows = st.builds(
    Shadow,
    **base,
    **dict.fromkeys(
        ("prediction_id", "request_id", "model", "version", "champion_version", "error"), texts
    ),
    route_generation=st.integers(0, 2**40),
    score=st.none() | finite,
    flagged=st.none() | st.booleans(),
    **dict.fromkeys(("scoring_seconds", "champion_score", "champion_scoring_seconds"), finite),
    champion_flagged=st.booleans(),
)


@given(transactions | outcomes | predictions | shadows)
def test_an_event_reads_back_as_it_was_written(event: Event) -> None:
    assert decode(event.stream, encode(event)) == event


def test_every_stream_has_exactly_one_event_type() -> None:
    assert set(LAKE_TYPES) == {*Stream, *(event.stream for event in EVENTS)}
    assert len(LAKE_TYPES) == len(Stream) + len(EVENTS), "the shop has no stream of the platform"
    assert all(event_type.stream == stream for stream, event_type in LAKE_TYPES.items())
    assert set(LAKE_TYPES) - set(EVENT_TYPES) == {Stream.BATCH_SCORES}, "it is never in the log"


TRANSACTION = msgspec.to_builtins(
    Transaction(
        event_id="tx-1",
        world_time=NOW,
        wall_time=NOW,
        transaction_id="1",
        customer_id="c",
        merchant_id="m",
        amount=9.5,
    )
)
OUTCOME = msgspec.to_builtins(
    Outcome(
        event_id="outcome-1",
        world_time=NOW,
        wall_time=NOW,
        model="m",
        request_id="1",
        request_time=NOW,
        label=1,
    )
)


@pytest.mark.parametrize(
    ("stream", "change", "reason"),
    [
        (TRANSACTIONS, {"amount": "9.5"}, "Expected `float`, got `str` - at `$.amount`"),
        (TRANSACTIONS, {"amount": None}, "$.amount"),  # JSON writes NaN so
        (TRANSACTIONS, {"amount": -0.01}, "`float` >= 0.0 - at `$.amount`"),
        (TRANSACTIONS, {"event_id": ""}, "length >= 1 - at `$.event_id`"),
        (
            TRANSACTIONS,
            {"world_time": "2018-06-10T12:00:00"},
            "timezone component - at `$.world_time`",
        ),
        (TRANSACTIONS, {"amount": 1e13}, "`float` <= 1000000000000.0 - at `$.amount`"),
        (
            TRANSACTIONS,
            {"world_time": "1970-01-01T00:00:00Z"},
            "lies outside 1971-01-01 to 2200-01-01",
        ),
        (
            TRANSACTIONS,
            {"world_time": "9999-12-31T23:59:59-12:00"},
            "lies outside 1971-01-01 to 2200-01-01",
        ),
        (
            TRANSACTIONS,
            {"world_time": "yesterday"},
            "Invalid RFC3339 encoded datetime - at `$.world_time`",
        ),
        (Stream.OUTCOMES, {"label": None}, "label None does not fit hidden_by ''"),
        (Stream.OUTCOMES, {"hidden_by": "declined"}, "does not fit hidden_by 'declined'"),
        (Stream.OUTCOMES, {"weight": 0.5}, "`float` >= 1.0 - at `$.weight`"),
        (Stream.OUTCOMES, {"model": ""}, "length >= 1 - at `$.model`"),
        (
            Stream.OUTCOMES,
            {"request_time": "2018-06-10T12:00:00"},
            "timezone component - at `$.request_time`",
        ),
    ],
)
def test_a_wrong_field_is_refused_by_name(
    stream: str, change: dict[str, object], reason: str
) -> None:
    document = {**(TRANSACTION if stream == TRANSACTIONS else OUTCOME), **change}
    with pytest.raises(MalformedEventError) as refused:
        decode(stream, msgspec.json.encode(document))
    assert str(refused.value).startswith(f"{stream}: ")
    assert reason in str(refused.value)


@pytest.mark.parametrize("field", [name for name in TRANSACTION if name != "schema_version"])
def test_a_missing_field_is_refused_by_name(field: str) -> None:
    document = {name: value for name, value in TRANSACTION.items() if name != field}
    with pytest.raises(MalformedEventError, match=f"missing required field `{field}`"):
        decode(TRANSACTIONS, msgspec.json.encode(document))


@pytest.mark.parametrize("payload", [b"", b"{", b"null", b"[]", b"\xff\xfe", b'{"amount": 1e999}'])
def test_bytes_that_are_no_event_are_refused(payload: bytes) -> None:
    for stream in EVENT_TYPES:
        with pytest.raises(MalformedEventError):
            decode(stream, payload)


def test_an_event_of_another_stream_is_refused() -> None:
    with pytest.raises(MalformedEventError):
        decode(Stream.OUTCOMES, msgspec.json.encode(TRANSACTION))


def test_the_same_fact_has_the_same_id_and_different_facts_have_different_ones() -> None:
    assert Transaction.id_for("1") == Transaction.id_for("1")
    ids = [
        Transaction.id_for("1"),
        Transaction.id_for("2"),
        Prediction.id_for("1"),
        Outcome.id_for("a", "1"),
        Outcome.id_for("b", "1"),
    ]
    assert len(set(ids)) == 5


def test_events_are_immutable() -> None:
    event = decode(TRANSACTIONS, msgspec.json.encode(TRANSACTION))
    with pytest.raises(AttributeError):
        event.world_time = NOW + timedelta(days=1)  # type: ignore[misc]


def test_a_prediction_from_before_there_were_routes_is_of_generation_0() -> None:
    new = Prediction(
        event_id="p",
        world_time=NOW,
        wall_time=NOW,
        **dict.fromkeys(("prediction_id", "request_id", "model", "version", "arm"), "1"),
        entity_keys={},
        features={},
        feature_age_seconds={},
        score=0.5,
        flagged=False,
        latency_seconds=0.01,
        route_generation=7,
    )
    document = {
        name: value
        for name, value in msgspec.to_builtins(new).items()
        if name != "route_generation"
    }
    old = decode(Stream.PREDICTIONS, msgspec.json.encode(document))
    assert old == msgspec.structs.replace(new, route_generation=0)
    document["route_generation"] = -1
    with pytest.raises(MalformedEventError, match="route_generation"):
        decode(Stream.PREDICTIONS, msgspec.json.encode(document))
