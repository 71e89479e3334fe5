"""Training-serving skew, measured (D20): served feature values against training's values.

The measurement takes one whole world day, one model and a sample of its requests. It computes the
values from the lake's events, point in time. It uses the functions for training sets (offline.py,
the service's request formulas). It compares them with the vector in the prediction log. It takes
nothing from the store used by serving, so a wrong store cannot agree with itself.

*What counts as equal.* Streaming values are state at the entity's latest event on both sides
(docs/adr/0003). This is their definition and no difference. Values agree within the rounding of
float32 and of sums of cents. A request may have got an older row of its entity than the newest. It
is then compared with the row that it got, and counted apart. How late rows may be is judged by
feature freshness. At demo speed a second of wall time is forty world minutes. Three cases are skew.
The row is from after the event, it never existed, or it is missing. An input that differs from the
recorded event's (cents for euros) shows here.

The sample bounds memory and time, because only the events of its entities are computed. On the
public data's 9,500 payments a day, a model takes about one second, mostly for reading the lake.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import msgspec
import polars as pl

from dojo.core.categories import category_number
from dojo.core.events.types import Stream
from dojo.core.lake import Lake, start_of
from dojo.core.state.skew import SkewExample, SkewMeasurement
from feature_repo import catalog
from feature_repo.services import RequestFeatures
from feature_repo.views import PUBLISH_DELAY, STREAMING_MEMORY
from pipelines.features.materialize import scan_streams
from pipelines.features.offline import HISTORY, source_rows, view_rows
from pipelines.features.skew_rows import ALLOWED_LATENESS, Timeline, agrees, row_to_compare

# Midnights whose batch rows a day's requests get without delay. They are the day's own, the one
# before it, and one more until that is published.
MIDNIGHTS = 3

# Oldest batch row to recognise. A store with older rows was neglected for a month, so its values
# are wrong.
OLDEST_ROW = timedelta(days=31)

EXAMPLES = 10

# Reason for leaving out a request without an event in the lake.
NOT_RECORDED = "not_recorded"
# Reason for leaving out a repeated result. Its features were served to an earlier request.
REPEATED = "repeated"

# Days before the measured one whose streaming rows are computed, which is an entity's memory.
MEMORY_DAYS = STREAMING_MEMORY.days + 1


@dataclass(frozen=True, slots=True)
class SampledRequest:
    """A request and the values served for it.

    Attributes:
        request_id: The caller's id.
        keys: Entity -> key.
        happened: World time of the recorded event. Without one, of the request itself.
        asked: World time of the gateway's answer.
        inputs: The request's inputs, as recorded. A category is its number.
        served: Feature -> served value.
        served_at: View -> time of the served row. None where it had none.
    """

    request_id: str
    keys: Mapping[str, str]
    happened: datetime
    asked: datetime
    inputs: Mapping[str, float]
    served: Mapping[str, float]
    served_at: Mapping[str, datetime | None]


def measure(
    lake: Lake, model: str, service: str, day: date, sample: int, as_of: datetime
) -> SkewMeasurement:
    """Return the skew of `sample` requests of a whole world day.

    Args:
        lake: The lake.
        model: The model.
        service: The model's feature service.
        day: The world day.
        sample: Number of requests.
        as_of: World time of the measurement, later than the day.
    """
    start = start_of(day)
    requests, excused = sampled_requests(lake, model, service, start, sample)
    differing: Counter[str] = Counter()
    late: Counter[str] = Counter()
    stale: Counter[str] = Counter()
    examples: dict[str, SkewExample] = {}
    rows = 0
    timelines = offline_rows(lake, requests, service, start) if requests else {}
    for request in requests:
        expected, behind = offline_vector(request, timelines, service)
        late.update(behind.keys())
        stale.update(view for view, missed in behind.items() if missed > ALLOWED_LATENESS[view])
        differs = [
            name for name, value in request.served.items() if not agrees(value, expected.get(name))
        ]
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
    lake: Lake, model: str, service: str, start: datetime, sample: int
) -> tuple[list[SampledRequest], dict[str, int]]:
    """Draw requests from the day's whole and fresh answers, the same at every call.

    Returns:
        The requests, and reason -> number of requests that could not be drawn.
    """
    end = start + timedelta(days=1)
    answered = (
        lake.scan(Stream.PREDICTIONS, start, end)
        .filter(pl.col("model") == model)
        .select(
            *("prediction_id", "request_id", "world_time", "entity_keys"),
            *("feature_names", "features", "feature_age_seconds", "degraded", "cached_seconds"),
        )
        .sort("world_time", "prediction_id")
        .unique("request_id", keep="last", maintain_order=True)
        .collect()
    )
    degraded = answered.select(pl.col("degraded").explode()).drop_nulls().to_series().value_counts()
    excused = {str(reason): int(count) for reason, count in degraded.iter_rows()}
    whole = answered.filter(pl.col("degraded").list.len() == 0)
    fresh = whole.filter(pl.col("cached_seconds").is_null())
    if len(fresh) < len(whole):
        excused[REPEATED] = len(whole) - len(fresh)
    request = catalog.SERVICES[service].request
    found = _with_recorded(lake, fresh, request, start, end).sort("prediction_id")
    if len(found) < len(fresh):
        excused[NOT_RECORDED] = len(fresh) - len(found)
    drawn = found.sample(min(sample, len(found)), seed=start.toordinal()) if len(found) else found
    return [_request(row, request) for row in drawn.iter_rows(named=True)], excused


def _with_recorded(
    lake: Lake, answered: pl.DataFrame, request: RequestFeatures, start: datetime, end: datetime
) -> pl.DataFrame:
    """Return the answered requests with a recorded event, its time `happened` and its inputs."""
    if request.recorded is None:
        return answered.with_columns(happened=pl.col("world_time"))
    # An event is written down after its answer, at most a batch of the simulator's later. Its own
    # time may be on the day before.
    recorded = (
        lake.scan(request.recorded.stream, start - timedelta(days=1), end)
        .select(*request.names, request_id=request.recorded.key, happened="world_time")
        .unique("request_id", keep="any")
        .collect()
    )
    return answered.join(recorded, on="request_id", how="inner")


def offline_rows(
    lake: Lake, requests: Sequence[SampledRequest], service: str, start: datetime
) -> dict[str, Timeline]:
    """Return view -> training's rows of the requests' entities around the day, from lake events."""
    views = catalog.views_of(service)
    midnights = midnights_of(requests, start)
    days = [start.date() - timedelta(days=back) for back in range(MEMORY_DAYS, -1, -1)]
    reach = start_of(min(midnights[0], days[0])) - HISTORY
    keys = {view.key: {request.keys[view.entity] for request in requests} for view in views}
    streams = {}
    for stream, rows in scan_streams(lake, reach, None).items():
        ours = [
            pl.col(key).is_in(sampled)
            for key, sampled in keys.items()
            if key in rows.collect_schema().names()
        ]
        streams[stream] = (rows.filter(pl.any_horizontal(ours)) if ours else rows).collect()
    sampled_rows = source_rows(streams, views)
    timelines = {}
    for view in views:
        own = view.sources[0]
        rows_of_view = {
            **sampled_rows,
            own: sampled_rows[own].filter(pl.col(view.key).is_in(keys[view.key])),
        }
        computed = view_rows(view, rows_of_view, midnights if view.kind == "batch" else days)
        timelines[view.name] = Timeline(computed, view.key, view.names)
    return timelines


def midnights_of(requests: Sequence[SampledRequest], start: datetime) -> list[date]:
    """Return the midnights of the batch rows that the requests should have got or did get."""
    usual = {start.date() - timedelta(days=back) for back in range(MIDNIGHTS)}
    batch = [view.name for view in catalog.batch_views()]
    got = {
        (at - PUBLISH_DELAY).date()
        for r in requests
        for view in batch
        if (at := r.served_at.get(view)) is not None
    }
    return sorted(
        usual | {day for day in got if (start - OLDEST_ROW).date() <= day <= start.date()}
    )


def offline_vector(
    request: SampledRequest, timelines: Mapping[str, Timeline], service: str
) -> tuple[dict[str, float], dict[str, timedelta]]:
    """Return the service's features from the rows that serving got, as training computes them.

    Also returns the views without their newest row, with the time for which the first missed row
    had been visible.
    """
    transform = catalog.SERVICES[service].request
    values: dict[str, float] = {
        **request.inputs,
        transform.time_input: request.happened.timestamp(),
    }
    behind = {}
    for view in catalog.views_of(service):
        visible, rows = timelines[view.name].rows(request.keys[view.entity])
        row, missed = row_to_compare(
            visible,
            request.happened,
            request.asked,
            request.served_at.get(view.name),
            ALLOWED_LATENESS[view.name],
            view.kind == "batch",
        )
        if missed is not None:
            behind[view.name] = missed
        known = rows[row] if row is not None else {}
        values.update({name: known.get(name) or 0.0 for name in view.names})
    computed = values | transform.compute(values)
    return {name: computed[name] for name in catalog.SERVICES[service].features}, behind


def _request(row: Mapping[str, Any], request: RequestFeatures) -> SampledRequest:
    ages = msgspec.json.decode(row["feature_age_seconds"], type=dict[str, float | None])
    asked: datetime = row["world_time"]
    return SampledRequest(
        request_id=row["request_id"],
        keys=msgspec.json.decode(row["entity_keys"], type=dict[str, str]),
        happened=row["happened"],
        asked=asked,
        inputs={
            **{name: row[name] for name in request.numbers},
            **{name: category_number(row[name] or "") for name in request.categories},
        },
        served=dict(zip(row["feature_names"], row["features"], strict=True)),
        served_at={
            view: None if age is None else asked - timedelta(seconds=age)
            for view, age in ages.items()
        },
    )


def _example(request: SampledRequest, feature: str, expected: Mapping[str, float]) -> SkewExample:
    return SkewExample(
        feature=feature,
        request_id=request.request_id,
        world_time=request.happened,
        served=request.served[feature],
        offline=expected.get(feature, 0.0),
    )


def _distance(example: SkewExample) -> float:
    return abs(example.served - example.offline) / (1.0 + abs(example.offline))
