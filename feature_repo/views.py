"""The terms for defining stored features. Plain data without Feast and Polars.

There are two kinds of view (D2.3). `services.py` has the third kind, computed in the request.

- *batch*: one row per entity and day, computed from everything before midnight. It is published at
  midnight + PUBLISH_DELAY.
- *streaming*: the entity's state at its latest event, pushed as events arrive.

A missing stored value (an entity without history) is 0 everywhere, in training and in serving.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import ClassVar, Literal

from dojo.core.events.types import Stream

Kind = Literal["batch", "streaming"]
Aggregate = Literal["latest_time", "count", "sum", "max"]

# Time after midnight at which the day's batch features become visible. The job takes seconds of
# wall time. At demo speed (2,400 world seconds a second) these are hours of world time. Training
# sees exactly the values that serving could have seen.
PUBLISH_DELAY = timedelta(hours=6)

# How far the streamer may be behind, and not how long an entity may be silent. It is the shortest
# window, beyond which counts are wrong. At demo speed it is 1.5 s of wall time.
STREAMING_SLA = timedelta(hours=1)

DAILY_SLA = timedelta(hours=36)  # a day and a half: one late job is noticed before the second

# An older streaming row says no more than no row, because every window has run out.
STREAMING_MEMORY = timedelta(days=30)

MOMENT_UNIT = "unix seconds"

# The unit of a text from a small set, such as a carrier. Its value is its number
# (dojo/core/categories.py).
CATEGORY_UNIT = "category"


def published_at(day: date) -> datetime:
    """Return the time at which the batch features of `day`'s midnight become visible."""
    return datetime.combine(day, time(), UTC) + PUBLISH_DELAY


def join_key(entity: str) -> str:
    """Return the name of an entity's key in events, requests and feature rows."""
    return f"{entity}_id"


@dataclass(frozen=True, slots=True)
class EventSource:
    """A stream of events as the source of features.

    Attributes:
        stream: The stream.
        key: Column that names the event. A second event with the same key counts once. A second
            outcome corrects the first one from the moment it becomes known.
        columns: Columns read by the computations, `world_time` among them.
        labels_of: The model of these outcomes. None for other events.
        settled_after: Time after an event from which features take its outcome as final.
    """

    stream: str
    key: str
    columns: tuple[str, ...]
    labels_of: str | None = None
    settled_after: timedelta = timedelta(0)


def labels_of(model: str, settled_after: timedelta) -> EventSource:
    """Return the source of a model's labels, whose delay is at most `settled_after`."""
    return EventSource(
        stream=Stream.OUTCOMES,
        key="request_id",
        columns=("request_id", "label", "world_time"),
        labels_of=model,
        settled_after=settled_after,
    )


@dataclass(frozen=True, slots=True)
class Window:
    """An aggregate over one entity's events in (latest - length, latest]."""

    aggregate: Aggregate
    length: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature, or one input of a request.

    Attributes:
        name: Name of the feature.
        unit: Unit of its number.
        description: Meaning for people.
        window: How a streaming view computes it.
        bounds: Smallest and largest plausible value of an input. A value outside is a producer's
            fault, such as cents for euros. Training refuses it. A category has none.
    """

    name: str
    unit: str
    description: str
    window: Window | None = None
    bounds: tuple[float, float] = (-math.inf, math.inf)

    @property
    def is_category(self) -> bool:
        return self.unit == CATEGORY_UNIT


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Features that are computed, stored and refreshed together.

    Attributes:
        kind: Batch or streaming.
        name: Name of the view.
        entity: The described entity.
        owner: The owning team.
        sources: The entity's events first, then the sources joined to them.
        freshness_sla: Age beyond which a value is stale, world time.
        pii: True if the values describe one natural person. Pseudonymous persons count.
        description: Meaning for people.
        features: The features.
    """

    kind: ClassVar[Kind]

    name: str
    entity: str
    owner: str
    sources: tuple[EventSource, ...]
    freshness_sla: timedelta
    pii: bool
    description: str
    features: tuple[Feature, ...]

    @property
    def key(self) -> str:
        return join_key(self.entity)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(feature.name for feature in self.features)

    @property
    def source(self) -> str:
        """The sources for people."""
        named = (f"{s.stream} of {s.labels_of}" if s.labels_of else s.stream for s in self.sources)
        return f"{'lake' if self.kind == 'batch' else 'stream'}: {', '.join(named)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchView(View):
    """One row per entity and midnight.

    Attributes:
        compute: `module:function` that gets a Polars frame per source and the days. It is a name,
            so that reading the catalogue imports no Polars. It returns the key, `event_timestamp`
            (`published_at`) and the features, one row per day and entity.
        reach: How far it looks back from a midnight on the first source.
    """

    kind: ClassVar[Kind] = "batch"

    compute: str
    reach: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamingView(View):
    """One row per entity and event. Each feature is an aggregate over a window (`windows.py`).

    Attributes:
        value: Column for sums and maxima. None when the view only counts.
        scale: Whole units in one of the value, such as 100 cents. They add up alike in any order.
    """

    kind: ClassVar[Kind] = "streaming"

    value: str | None = None
    scale: int = 1

    def __post_init__(self) -> None:
        for feature in self.features:
            if feature.window is None or (
                feature.window.aggregate in ("sum", "max") and self.value is None
            ):
                raise ValueError(
                    f"{self.name}: {feature.name} needs a window, and a sum or maximum the view's"
                    " value"
                )

    @property
    def windows(self) -> dict[str, Window]:
        return {feature.name: feature.window for feature in self.features if feature.window}

    @property
    def reach(self) -> timedelta:
        """The longest window, which is how far it looks back from an event."""
        return max(window.length for window in self.windows.values())
