"""The lake's columns follow from the events' structs, and existing files stay readable."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from dojo.core.events.columns import frame_of, schema_of
from dojo.core.events.streams import EVENT_TYPES
from dojo.core.events.types import AwareTime, Event, Stream
from dojo.core.lake import SCHEMAS, Lake
from dojo.shop.events import (
    BANNERS,
    CREDITS,
    DECISIONS,
    MEMBERSHIPS,
    OFFERS,
    ORDERS,
    SEARCHES,
    SETTLEMENTS,
    SUGGESTIONS,
    TRANSACTIONS,
)

NOON = datetime(2018, 6, 10, 12, tzinfo=UTC)
TIME = pl.Datetime("us", "UTC")
STRING, FLOAT, BOOL, INT, INT8 = pl.String, pl.Float64, pl.Boolean, pl.Int64, pl.Int8
STRINGS, FLOATS = pl.List(pl.String), pl.List(pl.Float64)

# Columns of lake files on disk. Files are never rewritten. So a column may be added, but never
# renamed, retyped or dropped.
ON_DISK = {
    TRANSACTIONS: {
        "transaction_id": STRING,
        "customer_id": STRING,
        "merchant_id": STRING,
        "amount": FLOAT,
    },
    ORDERS: {
        **dict.fromkeys(("order_id", "customer_id", "merchant_id", "product_id"), STRING),
        **dict.fromkeys(("price", "express", "distance_km"), FLOAT),
        **dict.fromkeys(("category", "carrier"), STRING),
    },
    BANNERS: dict.fromkeys(("impression_id", "customer_id", "banner_id"), STRING),
    MEMBERSHIPS: {
        **dict.fromkeys(("membership_id", "customer_id"), STRING),
        "member_days": FLOAT,
    },
    CREDITS: {
        **dict.fromkeys(("credit_id", "customer_id", "merchant_id"), STRING),
        **dict.fromkeys(("amount", "parts", "account_days"), FLOAT),
        "age_group": STRING,
    },
    OFFERS: {
        **{"offer_id": STRING, "product_id": STRING},
        **dict.fromkeys(("price", "regular_price", "kind"), FLOAT),
        "category": STRING,
    },
    SEARCHES: {
        **{"customer_id": STRING, "product_id": STRING, "price": FLOAT, "position": INT8},
        **{"result_id": STRING, "match": FLOAT},
    },
    SUGGESTIONS: {
        **{"customer_id": STRING, "product_id": STRING, "price": FLOAT, "position": INT8},
        **{"suggestion_id": STRING, "interest": FLOAT},
    },
    DECISIONS: {
        **dict.fromkeys(("model", "version", "arm", "request_id"), STRING),
        **{"amount": FLOAT, "action": STRING, "release_share": FLOAT},
    },
    SETTLEMENTS: {
        **dict.fromkeys(("model", "version", "arm", "request_id"), STRING),
        **{"request_time": TIME, "action": STRING, "value_euro": FLOAT},
    },
    Stream.OUTCOMES: {
        **{"model": STRING, "request_id": STRING, "request_time": TIME, "label": FLOAT},
        **{"hidden_by": STRING, "weight": FLOAT},
    },
    Stream.PREDICTIONS: {
        **dict.fromkeys(
            ("prediction_id", "request_id", "model", "version", "arm", "entity_keys"), STRING
        ),
        "feature_names": STRINGS,
        "features": FLOATS,
        "feature_age_seconds": STRING,
        "score": FLOAT,
        "flagged": BOOL,
        "latency_seconds": FLOAT,
        "degraded": STRINGS,
        "route_generation": INT,
        "trace_id": STRING,
        "propensity": FLOAT,
        "cached_seconds": FLOAT,
        "new_categories": STRING,
    },
    Stream.SHADOWS: {
        **dict.fromkeys(("prediction_id", "request_id", "model", "version"), STRING),
        "route_generation": INT,
        "score": FLOAT,
        "flagged": BOOL,
        "scoring_seconds": FLOAT,
        "champion_version": STRING,
        "champion_score": FLOAT,
        "champion_flagged": BOOL,
        "champion_scoring_seconds": FLOAT,
        "error": STRING,
    },
    Stream.VERDICTS: {
        **dict.fromkeys(("model", "version", "check", "window"), STRING),
        "window_start": TIME,
        "severity": STRING,
        "rows": INT,
        "summary": STRING,
        "findings": STRING,
        "since": TIME,
    },
}


@pytest.mark.parametrize("stream", EVENT_TYPES)
def test_the_columns_are_those_of_the_files_on_disk(stream: str) -> None:
    assert pl.Schema(SCHEMAS[stream]) == pl.Schema(
        {
            "event_id": STRING,
            "world_time": TIME,
            "wall_time": TIME,
            **ON_DISK[stream],
        }  # in this order
    )


@pytest.mark.parametrize("stream", EVENT_TYPES)
def test_a_file_of_these_columns_is_read_as_it_was_written(tmp_path: Path, stream: str) -> None:
    schema = {"event_id": STRING, "world_time": TIME, "wall_time": TIME, **ON_DISK[stream]}
    row = dict.fromkeys(schema) | {"event_id": "e", "world_time": NOON}
    path = tmp_path / stream / "date=2018-06-10" / "part-1-0.parquet"
    path.parent.mkdir(parents=True)
    pl.DataFrame([row], schema=schema).write_parquet(path)
    assert Lake(tmp_path).scan(stream).collect().to_dicts() == [row]


class Reading(Event, frozen=True, kw_only=True):
    """An event with a field of each kind."""

    sensor: str
    value: float | None
    at: AwareTime | None
    inputs: dict[str, float]
    ages: dict[str, float | None]
    tags: tuple[str, ...]
    pairs: tuple[tuple[str, int], ...]


def test_a_new_event_needs_no_line_in_the_lake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dojo.core.events.columns.EVENT_TYPES", {Stream.VERDICTS: Reading})
    times = {"world_time": NOON, "wall_time": NOON}
    full = Reading(
        event_id="a",
        **times,
        sensor="s",
        value=1.5,
        at=NOON,
        inputs={"z": 2.0, "a": 1.0},
        ages={"z": None},
        tags=("x",),
        pairs=(("p", 1),),
    )
    empty = Reading(
        event_id="b",
        **times,
        sensor="s",
        value=None,
        at=None,
        inputs={},
        ages={},
        tags=(),
        pairs=(),
    )
    frame = frame_of(Stream.VERDICTS, [full, empty])
    assert frame.schema == pl.Schema(schema_of(Reading))
    first, second = frame.to_dicts()
    assert first == {
        "event_id": "a",
        **times,
        "sensor": "s",
        "value": 1.5,
        "at": NOON,
        "input_names": ["z", "a"],
        "inputs": [2.0, 1.0],
        "ages": '{"z":null}',
        "tags": ["x"],
        "pairs": '[["p",1]]',
    }
    assert (second["value"], second["at"], second["inputs"], second["pairs"]) == (
        None,
        None,
        [],
        "[]",
    )
