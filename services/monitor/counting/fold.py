"""Events into windows. Repeated, late and unordered events count once. No I/O."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from dojo.core.categories import with_codes
from dojo.core.events.types import Event, Outcome, Prediction, Stream
from dojo.core.registry.reference_profile import ReferenceProfile
from services.monitor.counting.state import Key, MonitorMemory, short_hash
from services.monitor.counting.windows import CountedWindow, LabelWindow, floor

E = TypeVar("E", bound=Event)
Hashes = npt.NDArray[np.uint64]

_NOTHING: Hashes = np.zeros(0, dtype=np.uint64)


@dataclass
class Folded:
    """The changes made by a batch.

    Attributes:
        counted: Number of events counted.
        duplicates: Number of repeated events.
        too_late: Number of events for closed windows.
        predictions: (version, hour) of the windows with new answers.
        labels: (model, hour) of the windows with new labels.
        new: Hour -> hashes of the counted events.
    """

    counted: int = 0
    duplicates: int = 0
    too_late: int = 0
    predictions: set[tuple[Key, datetime]] = field(default_factory=set)
    labels: set[tuple[str, datetime]] = field(default_factory=set)
    new: dict[datetime, Hashes] = field(default_factory=dict)


def fold_predictions(known: MonitorMemory, events: Sequence[Prediction]) -> Folded:
    """Count answers in the windows of their world time and version."""
    folded = Folded()
    groups: dict[tuple[Key, datetime], list[Prediction]] = defaultdict(list)
    for hour, fresh in _fresh(known, Stream.PREDICTIONS, events, folded).items():
        for event in fresh:
            groups[(event.model, event.version), hour].append(event)
    for (key, hour), group in groups.items():
        window = known.hours.setdefault(key, {}).setdefault(hour, CountedWindow())
        plan = known.plans.get(key)
        names = plan.names[:-1] if plan is not None else ()
        profile = known.profiles.get(key)
        shown = profile.shown if profile is not None else None
        window.add(
            _with_codes(_matrix(group, names), names, profile),
            flagged=sum(event.flagged is True for event in group),
            degraded=sum(bool(event.degraded) for event in group),
            missing=(
                view
                for event in group
                for view, age in event.feature_age_seconds.items()
                if age is None
            ),
            plan=plan,
            items=(
                event.entity_keys[shown.entity]
                for event in group
                if event.flagged and shown is not None and shown.entity in event.entity_keys
            ),
            new_categories=(named for event in group for named in event.new_categories.items()),
        )
        folded.predictions.add((key, hour))
    return folded


def fold_outcomes(known: MonitorMemory, events: Sequence[Outcome]) -> Folded:
    """Count labels in the windows of their arrival. A correction is no arrival.

    An outcome without a label is no arrival either. A shop that acts on many of its answers is
    therefore told that labels are missing.
    """
    folded = Folded()
    for hour, fresh in _fresh(known, Stream.OUTCOMES, events, folded).items():
        delays: dict[str, list[float]] = defaultdict(list)
        for event in fresh:
            if event.label is not None:
                delays[event.model].append((event.world_time - event.request_time).total_seconds())
        for model, seconds in delays.items():
            known.label_hours.setdefault(model, {}).setdefault(hour, LabelWindow()).add(
                np.array(seconds)
            )
            folded.labels.add((model, hour))
    return folded


def _fresh(
    known: MonitorMemory, stream: str, events: Sequence[E], folded: Folded
) -> dict[datetime, list[E]]:
    """Return the new events by hour, and note them as counted. Closed windows get none.

    A repeated answer has its time, so it is looked for in its hour. The earliest of a request's
    outcomes counts. The others may come in any hour that still takes events.
    """
    by_hour: dict[datetime, dict[int, E]] = defaultdict(dict)
    hours: dict[tuple[int, int, int, int], datetime] = {}  # an hour's events share one start
    for event in events:
        time = event.world_time
        if time.utcoffset():  # another time zone: its hour is not a key among those in UTC
            hour = floor(time, "hour")
        else:
            mark = (time.year, time.month, time.day, time.hour)
            known_hour = hours.get(mark)
            hour = (
                known_hour
                if known_hour is not None
                else hours.setdefault(mark, floor(time, "hour"))
            )
        if known.open_from is not None and hour < known.open_from:
            folded.too_late += 1
            continue
        group = by_hour[hour]
        group.setdefault(short_hash(_counted_once(event)), event)
    fresh: dict[datetime, list[E]] = {}
    for hour, group in sorted(by_hour.items()):
        hashes = np.fromiter(group, dtype=np.uint64, count=len(group))
        seen = known.seen.get((stream, hour), _NOTHING)
        earlier = known.seen_of(stream) if stream == Stream.OUTCOMES else [seen]
        is_new = ~np.logical_or.reduce(
            [_contains(hashes_seen, hashes) for hashes_seen in (_NOTHING, *earlier)]
        )
        if is_new.any():
            new = hashes[is_new]
            known.seen[stream, hour] = np.union1d(seen, new)
            folded.new[hour] = new
            fresh[hour] = [
                event for event, keep in zip(group.values(), is_new.tolist(), strict=True) if keep
            ]
    folded.counted = sum(len(group) for group in fresh.values())
    folded.duplicates = len(events) - folded.counted - folded.too_late
    return fresh


def _counted_once(event: Event) -> str:
    return (
        Outcome.id_for(event.model, event.request_id)
        if isinstance(event, Outcome)
        else event.event_id
    )


def _contains(sorted_hashes: Hashes, wanted: Hashes) -> npt.NDArray[np.bool_]:
    if not len(sorted_hashes):
        return np.zeros(len(wanted), dtype=bool)
    at = np.minimum(np.searchsorted(sorted_hashes, wanted), len(sorted_hashes) - 1)
    return np.equal(sorted_hashes[at], wanted)


def _with_codes(
    rows: npt.NDArray[np.float32], names: Sequence[str], profile: ReferenceProfile | None
) -> npt.NDArray[np.float32]:
    known = (
        {name: of.categories for name, of in profile.features.items() if of.categories}
        if profile is not None
        else {}
    )
    return with_codes(rows, names, known)


def _matrix(events: Sequence[Prediction], names: Sequence[str]) -> npt.NDArray[np.float32]:
    """Return feature vectors with the score behind them, float32, (events, len(names) + 1).

    A missing feature is NaN.
    """
    wanted = tuple(names)
    width = len(wanted) + 1
    rows = (
        (
            (*event.features.values(), event.score)
            if tuple(event.features) == wanted
            else (*(event.features.get(name, np.nan) for name in wanted), event.score)
        )
        for event in events
    )
    flat = np.fromiter(chain.from_iterable(rows), dtype=np.float64, count=len(events) * width)
    return flat.reshape(len(events), width).astype(np.float32)
