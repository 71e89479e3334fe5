"""What the responder remembers of a model: one document, `dojo:responder:<model>`.

The order that survives a kill anywhere: *intent first, then the deed, then the record.* An action is in the state before it is begun,
everything that begins it is named after it and may be repeated, and it leaves the state when it is recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec
from redis import Redis

from dojo.core.events.types import Check, Verdict
from dojo.core.state.atomic import ConflictError
from dojo.core.state.documents import Document
from dojo.core.tasks.measured import Severity
from services.responder.policy import ORDER

Window = Literal["hour", "day", "now"]
ActionKind = Literal["evaluate", "retrain", "roll_back", "abort_rollout"]
TAKES_BACK: tuple[ActionKind, ...] = ("roll_back", "abort_rollout")  # done at once, and never kept waiting by the others

FINDINGS_KEPT = 5


class LatestVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """The latest verdict of one kind of window. `judged`: its world time."""

    verdict: str
    start: datetime
    judged: datetime
    severity: Severity
    summary: str
    findings: tuple[str, ...] = ()


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """One check of one version that is not well, over whichever windows say so.

    Attributes:
        id: the event id of the verdict that it began with. since: world time.
        windows: the latest verdict by kind of window.
        changes: how often its severity changed. told: the severity that the owner was told.
        evaluation: what the champion's evaluation said of it last; degraded: and that it was not acted upon yet.
        evaluate_after, retrain_after: world time before which it makes no sense to try again.
        held: why nothing is done about it, as it was told last. rehearsed: what a dry run said it would do.
        report: the order for its drift report, and how that stands: "" before it is ordered, "ended" after.
    """

    id: str
    version: str
    check: Check
    since: datetime
    windows: Mapping[Window, LatestVerdict]
    changes: int = 0
    told: Severity | None = None
    evaluation: dict[str, Any] = {}
    degraded: bool = False
    evaluate_after: datetime | None = None
    retrain_after: datetime | None = None
    held: str = ""
    rehearsed: str = ""
    report: str = ""

    @property
    def severity(self) -> Severity:
        return max((seen.severity for seen in self.windows.values()), key=ORDER.__getitem__)

    @property
    def worst(self) -> LatestVerdict:
        """The verdict that decides, the newest of several."""
        return max(self.windows.values(), key=lambda seen: (ORDER[seen.severity], seen.judged))

    @property
    def judged(self) -> datetime:
        return max(seen.judged for seen in self.windows.values())

    @property
    def key(self) -> str:
        return trouble_key(self.version, self.check)


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """What is being done, from intent to record.

    Attributes:
        id: names it for good: work orders, audit entries and route changes are named after it.
        trouble: key of the trouble it is for. verdict: the event id that decided it.
        version: the one that has the trouble. to: the one that is rolled back to.
        why: in words. evidence: what it rests on, for the audit trail.
        begun: world time. placed: the order is placed, or the change is made.
        waits: why nothing of its order runs, "" while it does.
    """

    id: str
    kind: ActionKind
    trouble: str
    verdict: str
    version: str
    why: str
    begun: datetime
    evidence: dict[str, Any] = {}
    to: str = ""
    placed: bool = False
    waits: str = ""


class ModelState(msgspec.Struct, frozen=True, kw_only=True):
    """Attributes:
    troubles: by `<version>/<check>`. inherited: troubles of versions that were replaced while they had them: check -> version; what a
        successor has from its predecessor did not begin with it.
    stale_at: world time of the latest verdict that features were stale; it outlives that trouble.
    action: in flight, at most one. aside: orders whose end is still to come, of actions that made room for another one. ended: world time at which the latest intervention ended, and `intervention` what it was.
    revision: counts writes, from 1.
    """

    model: str
    revision: int = 0
    troubles: dict[str, Incident] = {}
    inherited: dict[str, str] = {}
    action: Action | None = None
    aside: dict[ActionKind, Action] = {}
    ended: datetime | None = None
    intervention: str = ""
    stale_at: datetime | None = None

    @property
    def under_way(self) -> list[Action]:
        """What has begun and not ended."""
        return [*self.aside.values(), *([self.action] if self.action is not None else [])]

    def with_trouble(self, trouble: Incident) -> ModelState:
        return msgspec.structs.replace(self, troubles={**self.troubles, trouble.key: trouble})


def trouble_key(version: str, check: Check) -> str:
    return f"{version}/{check}"


def seen_of(verdict: Verdict) -> LatestVerdict:
    findings = tuple(
        f"{f.subject}: {f.severity}, {'-' if f.value is None else f'{f.value:.3g}'} (threshold {'-' if f.threshold is None else f'{f.threshold:.3g}'})"
        for f in verdict.findings
        if ORDER[f.severity] >= ORDER["warning"]
    )
    return LatestVerdict(
        verdict=verdict.event_id,
        start=verdict.window_start,
        judged=verdict.world_time,
        severity=verdict.severity,
        summary=verdict.summary,
        findings=findings[:FINDINGS_KEPT],
    )


class StateStore:
    """Raises redis.RedisError when Redis is out of reach."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def load(self, model: str) -> ModelState:
        return self._document(model).get() or ModelState(model=model)

    def save(self, state: ModelState) -> ModelState:
        """Write a changed state, as it was read; returns it as written. Raises ConflictError."""
        document = self._document(state.model)
        found = document.read()
        if (found.value.revision if found.value else 0) != state.revision:
            raise ConflictError(f"{state.model}: another process changed the responder's state; read it again")
        written = msgspec.structs.replace(state, revision=state.revision + 1)
        document.replace(found.revision, written)
        return written

    def _document(self, model: str) -> Document[ModelState]:
        return Document(self._redis, "dojo:responder:{model}", ModelState, model=model)
