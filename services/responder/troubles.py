"""Verdicts become troubles: told once, again when their severity changes, and when they end. Pure.

Hours and days of one check are one trouble, as bad as the worse of the two: a sudden drift is seen by the hours first and by the days later. A
verdict that is delivered twice, of an older window or of an earlier look than the one known, changes nothing. insufficient_data ends no trouble: nothing was
seen to have ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from dojo.core.events.types import Verdict
from services.responder.policy import FAMILIES, ORDER
from services.responder.state import Incident, LatestVerdict, ModelState, Window, seen_of, trouble_key

News = Literal["began", "changed", "ended", "replaced"]

# After how much world time without a new verdict of a kind of window nothing new is begun on an old one: the monitor speaks at every window of a
# trouble, and a few may be missed. Skew and ages are looked at at least once a day.
SPEAKS_AT_LEAST: dict[Window, timedelta] = {"hour": timedelta(hours=6), "day": timedelta(days=3), "now": timedelta(days=2)}

# For how long such a verdict keeps others from being acted on. Longer than a night, in which hours have too few rows to be judged (from about 21:00
# to 07:00): until an hour says otherwise, broken data stay broken. Waiting a day too long costs a day; training on them costs a model.
GUARDS_FOR: dict[Window, timedelta] = {**SPEAKS_AT_LEAST, "hour": timedelta(hours=24)}

# For how long after features were stale windows with such values are judged: the hours that confirm each other, or the day, and the wait for
# what comes late.
STALE_FOR: dict[Window, timedelta] = {"hour": timedelta(hours=6), "day": timedelta(hours=30), "now": timedelta(0)}


@dataclass(frozen=True, slots=True)
class IncidentNotice:
    """What the owner is to be told of a trouble. `occasion` names it for good."""

    news: News
    trouble: Incident

    @property
    def occasion(self) -> str:
        return f"{self.trouble.id}:{self.news}:{self.trouble.changes}"


def take(state: ModelState, verdict: Verdict) -> tuple[ModelState, IncidentNotice | None]:
    """The state after a verdict, and what there is to tell."""
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
            id=verdict.event_id, version=verdict.version, check=verdict.check, since=since, windows={verdict.window: seen}
        )
        begun = msgspec.structs.replace(begun, told=begun.severity)
        return state.with_trouble(begun), IncidentNotice("began", begun)
    known = before.windows.get(verdict.window)
    if known is not None and (seen.start, seen.judged) <= (known.start, known.judged):
        return state, None
    if verdict.severity == "insufficient_data":
        return state, None
    since = min(before.since, verdict.since) if verdict.since else before.since
    after = msgspec.structs.replace(before, windows={**before.windows, verdict.window: seen}, since=since)
    if after.severity == before.told:
        return state.with_trouble(after), None
    after = msgspec.structs.replace(after, changes=before.changes + 1, told=after.severity)
    if after.severity == "ok":
        inherited = {check: version for check, version in state.inherited.items() if check != verdict.check}
        return msgspec.structs.replace(without(state, key), inherited=inherited), IncidentNotice("ended", after)
    return state.with_trouble(msgspec.structs.replace(after, held="")), IncidentNotice("changed", after)


def is_of_the_past(state: ModelState, verdict: Verdict, live: frozenset[str] | None) -> bool:
    """Whether a verdict is the monitor's last word on a version that has no traffic any more: it begins nothing. live: versions with live
    traffic, None where nothing says so."""
    return (
        live is not None and verdict.version not in live and trouble_key(verdict.version, verdict.check) not in state.troubles
    )


def close_replaced(state: ModelState, live: frozenset[str]) -> tuple[ModelState, list[IncidentNotice]]:
    """Troubles of versions that have no traffic any more end with it. Severe ones of the model are inherited: a successor that has the same
    did not bring it."""
    gone = [trouble for trouble in state.troubles.values() if trouble.version not in live]
    inherited = dict(state.inherited)
    for trouble in gone:
        state = without(state, trouble.key)
        if FAMILIES[trouble.check] == "model" and ORDER[trouble.severity] >= ORDER["severe"]:
            inherited[trouble.check] = trouble.version
    return msgspec.structs.replace(state, inherited=inherited), [IncidentNotice("replaced", trouble) for trouble in gone]


def without(state: ModelState, key: str) -> ModelState:
    return msgspec.structs.replace(state, troubles={k: trouble for k, trouble in state.troubles.items() if k != key})


def current(trouble: Incident, now: datetime, limits: Mapping[Window, timedelta] = SPEAKS_AT_LEAST) -> LatestVerdict | None:
    """The verdict that decides: the worst of those that are recent enough to act on, the newest of several. None without such."""
    recent = [seen for window, seen in trouble.windows.items() if now - seen.judged <= limits[window]]
    return max(recent, key=lambda seen: (ORDER[seen.severity], seen.judged), default=None)
