"""Training-serving skew, measured (D20): the feature values that were served against those that training would compute for the same payments.

Of one whole world day and one model, for a sample of requests: the values are computed from the lake's events with the functions that build
training sets (compute.py, feature_repo/on_demand.py), point in time, and held against the vector in the prediction log. Nothing is
taken from the store that serving reads, so a store that is wrong cannot agree with itself.

*What counts as equal.* Streaming values are state at the entity's latest payment on both sides (docs/adr/0003): that is their definition, no
difference. Values agree within what float32 and sums of cents leave. A request that got one of its entity's rows from before the newest is
compared with the row that it got: how late rows may be is feature freshness' matter (at demo speed a second of wall time is forty world
minutes), and counted apart. A row from after the payment, a row that never was, and no row where there should be one are skew. An
amount that differs from the recorded payment's (cents for euros) shows here.

Memory and time are bounded by the sample: only the payments of its customers and merchants are computed. About one second a model on the public
data's 9,500 payments a day, of which reading the lake is most.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import polars as pl

from dojo.core.events.types import Stream
from dojo.core.lake import Lake
from dojo.core.state.skew import SkewExample, SkewMeasurement
from feature_repo import catalog, on_demand
from pipelines.features import compute
from pipelines.features.materialize import OUTCOME_COLUMNS, TRANSACTION_COLUMNS
from pipelines.features.offline import HISTORY, REACH
from pipelines.features.skew_rows import ALLOWED_LATENESS, Timeline, agrees, row_to_compare

# Midnights whose batch rows a day's requests get when nothing is late: the day's, the one before, and one more before it is published.
MIDNIGHTS = 3

# How old a batch row may be to be recognised: beyond it a store has been left alone for a month, and what it says is wrong.
OLDEST_ROW = timedelta(days=31)

EXAMPLES = 10

# Streaming rows older than this are as good as none: every window has run out.
STATE_REACH = timedelta(seconds=on_demand.SECONDS_SINCE_CAP) + timedelta(days=1)


@dataclass(frozen=True, slots=True)
class SampledRequest:
    """What was asked and what was served. `asked`: when the gateway answered, `paid`: the payment's time; world time. `amount`: of the
    recorded payment. `served_at`: view -> time of the row that was served, None where it had none."""

    request_id: str
    customer_id: str
    merchant_id: str
    paid: datetime
    asked: datetime
    amount: float
    served: Mapping[str, float]
    served_at: Mapping[str, datetime | None]


def measure(lake: Lake, model: str, service: str, day: date, sample: int, as_of: datetime) -> SkewMeasurement:
    """The skew of `sample` requests of a whole world day.

    Args:
        as_of: world time of the measurement; later than the day.
    """
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    end = start + timedelta(days=1)
    requests, excused = sampled_requests(lake, model, start, end, sample)
    differing: Counter[str] = Counter()
    late: Counter[str] = Counter()
    stale: Counter[str] = Counter()
    examples: dict[str, SkewExample] = {}
    rows = 0
    timelines = offline_rows(lake, requests, start, end) if requests else {}
    for request in requests:
        expected, behind = offline_vector(request, timelines, service)
        late.update(behind.keys())
        stale.update(view for view, missed in behind.items() if missed > ALLOWED_LATENESS[view])
        differs = [name for name, value in request.served.items() if not agrees(value, expected.get(name))]
        differing.update(differs)
        rows += bool(differs)
        for name in differs:
            example = _example(request, name, expected)
            if name not in examples or _distance(example) > _distance(examples[name]):
                examples[name] = example
    return SkewMeasurement(
        model=model,
        day=start,
        as_of=as_of,
        sampled=len(requests),
        rows=rows,
        share=rows / len(requests) if requests else None,
        differing=dict(differing.most_common()),
        late=dict(late.most_common()),
        stale=dict(stale.most_common()),
        excused=excused,
        examples=tuple(examples[name] for name, _ in differing.most_common(EXAMPLES)),
    )


def sampled_requests(
    lake: Lake, model: str, start: datetime, end: datetime, sample: int
) -> tuple[list[SampledRequest], dict[str, int]]:
    """Requests drawn from those of the day that were answered whole, the same ones at every call, and how many could not be drawn by reason."""
    answered = (
        lake.scan(Stream.PREDICTIONS, start, end)
        .filter(pl.col("model") == model)
        .select(
            *("prediction_id", "request_id", "world_time", "entity_keys"),
            *("feature_names", "features", "feature_age_seconds", "degraded"),
        )
        .sort("world_time", "prediction_id")
        .unique("request_id", keep="last", maintain_order=True)
        .collect()
    )
    degraded = answered.select(pl.col("degraded").explode()).drop_nulls().to_series().value_counts()
    excused = {str(reason): int(count) for reason, count in degraded.iter_rows()}
    whole = answered.filter(pl.col("degraded").list.len() == 0)
    # A payment is written down after its answer, at most a batch of the simulator's later; and its own time may be of the day before.
    paid = (
        lake.scan(Stream.TRANSACTIONS, start - timedelta(days=1), end)
        .select("transaction_id", pl.col("world_time").alias("paid"), "amount")
        .unique("transaction_id", keep="any")
        .collect()
    )
    found = whole.join(paid, left_on="request_id", right_on="transaction_id", how="inner").sort("prediction_id")
    if len(found) < len(whole):
        excused["no_payment"] = len(whole) - len(found)
    drawn = found.sample(min(sample, len(found)), seed=start.toordinal()) if len(found) else found
    return [_request(row) for row in drawn.iter_rows(named=True)], excused


def offline_rows(lake: Lake, requests: Sequence[SampledRequest], start: datetime, end: datetime) -> dict[str, Timeline]:
    """View -> what training would know of the requests' entities around the day, computed from the lake's events."""
    customers, merchants = {r.customer_id for r in requests}, {r.merchant_id for r in requests}
    midnights = midnights_of(requests, start)
    first = datetime(midnights[0].year, midnights[0].month, midnights[0].day, tzinfo=UTC)
    reach = min(first - HISTORY, start - STATE_REACH) - timedelta(days=1)
    ours = pl.col("customer_id").is_in(customers) | pl.col("merchant_id").is_in(merchants)
    transactions = _unique(lake.scan(Stream.TRANSACTIONS, reach, end).filter(ours).select(TRANSACTION_COLUMNS))
    arrived = lake.scan(Stream.OUTCOMES, reach, None).select(OUTCOME_COLUMNS)
    outcomes = arrived.unique(["model", "request_id"], keep="first", maintain_order=True).collect()
    of_customers = transactions.filter(pl.col("customer_id").is_in(customers))
    of_merchants = transactions.filter(pl.col("merchant_id").is_in(merchants))

    def since(rows: pl.DataFrame, moment: datetime, until: datetime = end) -> pl.DataFrame:
        return rows.filter(pl.col("world_time").is_between(moment, until, closed="left"))

    state = start - STATE_REACH
    views = {
        "customer_daily": compute.customer_daily(since(of_customers, first - REACH["customer_daily"]), midnights),
        "merchant_daily": compute.merchant_daily(since(of_merchants, first - REACH["merchant_daily"]), outcomes, midnights),
        "customer_activity": compute.customer_activity(since(of_customers, state - REACH["customer_activity"])),
        "merchant_activity": compute.merchant_activity(since(of_merchants, state - REACH["merchant_activity"])),
    }
    return {
        name: Timeline(rows, catalog.ENTITY_KEYS[catalog.VIEWS[name].entity], [f.name for f in catalog.VIEWS[name].features])
        for name, rows in views.items()
    }


def midnights_of(requests: Sequence[SampledRequest], start: datetime) -> list[date]:
    """The midnights whose batch rows the requests should have got, and those of the rows that they did get."""
    usual = {start.date() - timedelta(days=back) for back in range(MIDNIGHTS)}
    batch = [view.name for view in catalog.VIEWS.values() if view.kind == "batch"]
    got = {(at - catalog.PUBLISH_DELAY).date() for r in requests for view in batch if (at := r.served_at.get(view)) is not None}
    return sorted(usual | {day for day in got if (start - OLDEST_ROW).date() <= day <= start.date()})


def offline_vector(
    request: SampledRequest, timelines: Mapping[str, Timeline], service: str
) -> tuple[dict[str, float], dict[str, timedelta]]:
    """The service's features as training would have them of the rows that serving got, and the views of which it did not get the newest: with how
    long the first that it missed had been visible."""
    values: dict[str, float] = {"amount": request.amount, "transaction_time": request.paid.timestamp()}
    behind = {}
    for view in catalog.views_of(service):
        key = request.customer_id if view.entity == "customer" else request.merchant_id
        visible, rows = timelines[view.name].rows(key)
        row, missed = row_to_compare(
            visible,
            request.paid,
            request.asked,
            request.served_at.get(view.name),
            ALLOWED_LATENESS[view.name],
            view.kind == "batch",
        )
        if missed is not None:
            behind[view.name] = missed
        known = rows[row] if row is not None else {}
        values.update({feature.name: known.get(feature.name) or 0.0 for feature in view.features})
    computed = values | on_demand.compute(values)
    return {name: computed[name] for name in catalog.SERVICES[service]}, behind


def _request(row: Mapping[str, Any]) -> SampledRequest:
    keys = msgspec.json.decode(row["entity_keys"], type=dict[str, str])
    ages = msgspec.json.decode(row["feature_age_seconds"], type=dict[str, float | None])
    asked: datetime = row["world_time"]
    return SampledRequest(
        request_id=row["request_id"],
        customer_id=keys["customer"],
        merchant_id=keys["merchant"],
        paid=row["paid"],
        asked=asked,
        amount=row["amount"],
        served=dict(zip(row["feature_names"], row["features"], strict=True)),
        served_at={view: None if age is None else asked - timedelta(seconds=age) for view, age in ages.items()},
    )


def _unique(rows: pl.LazyFrame) -> pl.DataFrame:
    return rows.unique("transaction_id", keep="first", maintain_order=True).collect()


def _example(request: SampledRequest, feature: str, expected: Mapping[str, float]) -> SkewExample:
    return SkewExample(
        feature=feature,
        request_id=request.request_id,
        world_time=request.paid,
        served=request.served[feature],
        offline=expected.get(feature, 0.0),
    )


def _distance(example: SkewExample) -> float:
    return abs(example.served - example.offline) / (1.0 + abs(example.offline))
