"""The words in which stored features are defined. Plain data: no Feast, no Polars.

Two kinds of view (D2.3; the third kind, computed in the request, is in `services.py`):

- *batch*: one row per entity and day, computed from everything before midnight, published at midnight + PUBLISH_DELAY.
- *streaming*: the entity's state at its latest event, pushed as events arrive.

A stored value that does not exist (an entity without history) is 0 everywhere: in training and in serving.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import ClassVar, Literal

from dojo.core.events.types import Stream

Kind = Literal["batch", "streaming"]
Aggregate = Literal["latest_time", "count", "sum", "max"]

# When the day's batch features become visible, after midnight. The job takes seconds of wall time; at demo speed
# (2,400 world seconds a second) that is hours of world time. Training sees exactly what serving could have seen.
PUBLISH_DELAY = timedelta(hours=6)

# How far the streamer may be behind, not how long an entity may be silent: the shortest window,
# beyond which counts are wrong. At demo speed it is 1.5 s of wall time.
STREAMING_SLA = timedelta(hours=1)

# A streaming row that is older says no more than none: every window has run out.
STREAMING_MEMORY = timedelta(days=30)

MOMENT_UNIT = "unix seconds"


def published_at(day: date) -> datetime:
    """When the batch features of `day`'s midnight become visible."""
    return datetime.combine(day, time(), UTC) + PUBLISH_DELAY


def join_key(entity: str) -> str:
    """The name of an entity's key in events, requests and feature rows."""
    return f"{entity}_id"


@dataclass(frozen=True, slots=True)
class EventSource:
    """A stream of events that features are computed from.

    Attributes:
        key: The column that names what happened. A second event with the same key counts once.
            A second outcome corrects the first one from when it becomes known.
        columns: What the computations read, `world_time` among it.
        labels_of: The model whose outcomes these are. None: no outcomes.
        settled_after: How long after an event the features take its outcome for final.
    """

    stream: Stream
    key: str
    columns: tuple[str, ...]
    labels_of: str | None = None
    settled_after: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class Window:
    """An aggregate over one entity's events in (latest - length, latest]."""

    aggregate: Aggregate
    length: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature, or one input of a request.

    Attributes:
        unit: What its number counts.
        window: How a streaming view computes it.
        bounds: Of an input: what lies outside is a producer's fault, such as cents for euros. Training refuses it.
    """

    name: str
    unit: str
    description: str
    window: Window | None = None
    bounds: tuple[float, float] = (-math.inf, math.inf)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Features that are computed, stored and refreshed together.

    Attributes:
        sources: The events of the entity first, then what is joined to them.
        freshness_sla: The age of a value beyond which it is stale, world time.
        pii: The values describe one natural person. Pseudonymous persons count.
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
        compute: `module:function` that gets a Polars frame per source and the days. A name, so that
            reading the catalogue imports no Polars. It returns the key, `event_timestamp`
            (`published_at`) and the features, one row per day and entity.
        reach: How far it looks back from a midnight on the first source.
    """

    kind: ClassVar[Kind] = "batch"

    compute: str
    reach: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamingView(View):
    """One row per entity and event: each feature an aggregate over a window (`windows.py`).

    Attributes:
        value: The column that sums and maxima are of. None: the view only counts.
        scale: Whole units in one of the value, such as 100 cents. They add up alike in any order.
    """

    kind: ClassVar[Kind] = "streaming"

    value: str | None = None
    scale: int = 1

    def __post_init__(self) -> None:
        for feature in self.features:
            if feature.window is None or (feature.window.aggregate in ("sum", "max") and self.value is None):
                raise ValueError(f"{self.name}: {feature.name} needs a window, and a sum or maximum the view's value")

    @property
    def windows(self) -> dict[str, Window]:
        return {feature.name: feature.window for feature in self.features if feature.window}

    @property
    def reach(self) -> timedelta:
        """How far it looks back from an event: the longest window."""
        return max(window.length for window in self.windows.values())
