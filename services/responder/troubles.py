"""Turns verdicts into troubles. Pure.

The owner hears of a trouble at its beginning, at each change of severity, and at its end.

Hours and days of one check are one trouble with the worse severity of the two. Hours show a sudden
drift first, days show it later. A repeated verdict changes nothing. The same holds for a verdict of
an older window, or from an earlier look than the known one. A trouble does not end with
insufficient_data, because this shows no end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from dojo.core.events.types import Verdict
from services.responder.policy import FAMILIES, ORDER
from services.responder.state import (
    Incident,
    LatestVerdict,
    ModelState,
    Window,
    seen_of,
    trouble_key,
)

News = Literal["began", "changed", "ended", "replaced"]

# Maximum age of a verdict for beginning an action, world time. The monitor judges every window of a
# trouble, and a few may be missed. Skew and ages are judged at least once a day.
SPEAKS_AT_LEAST: dict[Window, timedelta] = {
    "hour": timedelta(hours=6),
    "day": timedelta(days=3),
    "now": timedelta(days=2),
}

# How long such a verdict blocks actions on other troubles. It is longer than a night, when hours
# have too few rows for a judgement (from about 21:00 to 07:00). Broken data stay broken until an
# hour shows otherwise. Waiting a day too long costs a day. Training on broken data costs a model.
GUARDS_FOR: dict[Window, timedelta] = {**SPEAKS_AT_LEAST, "hour": timedelta(hours=24)}

# How long windows with stale values are still judged after features were stale. This covers the
# hours that confirm each other, or the day, and the wait for late events.
STALE_FOR: dict[Window, timedelta] = {
    "hour": timedelta(hours=6),
    "day": timedelta(hours=30),
    "now": timedelta(0),
}


@dataclass(frozen=True, slots=True)
class IncidentNotice:
    """News of a trouble for the owner. `occasion` is its permanent name."""

    news: News
    trouble: Incident

    @property
    def occasion(self) -> str:
        return f"{self.trouble.id}:{self.news}:{self.trouble.changes}"


def take(state: ModelState, verdict: Verdict) -> tuple[ModelState, IncidentNotice | None]:
    """Return the state after a verdict, and the news."""
    if verdict.check == "feature_freshness" and ORDER[verdict.severity] >= ORDER["warning"]:
        latest = max(verdict.world_time, state.stale_at or verdict.world_time)
        state = msgspec.structs.replace(state, stale_at=latest)
    key = trouble_key(verdict.version, verdict.check)
    before = state.troubles.get(key)
    seen = seen_of(verdict)
    if before is None:
        if ORDER[verdict.severity] < ORDER["warning"]:
            return state, None
        since = verdict.since or verdict.window_start
        begun = Incident(
            id=verdict.event_id,
            version=verdict.version,
            check=verdict.check,
            since=since,
            windows={verdict.window: seen},
        )
        begun = msgspec.structs.replace(begun, told=begun.severity)
        return state.with_trouble(begun), IncidentNotice("began", begun)
    known = before.windows.get(verdict.window)
    if known is not None and (seen.start, seen.judged) <= (known.start, known.judged):
        return state, None
    if verdict.severity == "insufficient_data":
        return state, None
    since = min(before.since, verdict.since) if verdict.since else before.since
    after = msgspec.structs.replace(
        before, windows={**before.windows, verdict.window: seen}, since=since
    )
    if after.severity == before.told:
        return state.with_trouble(after), None
    after = msgspec.structs.replace(after, changes=before.changes + 1, told=after.severity)
    if after.severity == "ok":
        inherited = {
            check: version for check, version in state.inherited.items() if check != verdict.check
        }
        return msgspec.structs.replace(without(state, key), inherited=inherited), IncidentNotice(
            "ended", after
        )
    return state.with_trouble(msgspec.structs.replace(after, held="")), IncidentNotice(
        "changed", after
    )


def is_of_the_past(state: ModelState, verdict: Verdict, live: frozenset[str] | None) -> bool:
    """Whether a verdict is the monitor's last one on a version without traffic. It begins nothing.

    Args:
        live: Versions with live traffic. None if unknown.
    """
    return (
        live is not None
        and verdict.version not in live
        and trouble_key(verdict.version, verdict.check) not in state.troubles
    )


def close_replaced(
    state: ModelState, live: frozenset[str]
) -> tuple[ModelState, list[IncidentNotice]]:
    """Close the troubles of versions without traffic.

    Severe troubles of the model carry over to the new version. It is then not blamed for them.
    """
    gone = [trouble for trouble in state.troubles.values() if trouble.version not in live]
    inherited = dict(state.inherited)
    for trouble in gone:
        state = without(state, trouble.key)
        if FAMILIES[trouble.check] == "model" and ORDER[trouble.severity] >= ORDER["severe"]:
            inherited[trouble.check] = trouble.version
    return msgspec.structs.replace(state, inherited=inherited), [
        IncidentNotice("replaced", trouble) for trouble in gone
    ]


def without(state: ModelState, key: str) -> ModelState:
    return msgspec.structs.replace(
        state, troubles={k: trouble for k, trouble in state.troubles.items() if k != key}
    )


def current(
    trouble: Incident, now: datetime, limits: Mapping[Window, timedelta] = SPEAKS_AT_LEAST
) -> LatestVerdict | None:
    """Return the verdict that decides: the worst of the recent ones, the newest of several."""
    recent = [
        seen for window, seen in trouble.windows.items() if now - seen.judged <= limits[window]
    ]
    return max(recent, key=lambda seen: (ORDER[seen.severity], seen.judged), default=None)
