"""The responder's memory of a model, in one document `dojo:responder:<model>`.

The order *intent first, then the deed, then the record* survives a kill at any point. An action is
in the state before it begins. Everything that begins it is named after it and may be repeated. It
leaves the state once it is recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec
from redis import Redis

from dojo.core.events.types import Check, Verdict
from dojo.core.severity import Severity
from dojo.core.state.atomic import ConflictError
from dojo.core.state.documents import Document
from services.responder.policy import ORDER

Window = Literal["hour", "day", "now"]
ActionKind = Literal["evaluate", "retrain", "roll_back", "abort_rollout"]
TAKES_BACK: tuple[ActionKind, ...] = (
    "roll_back",
    "abort_rollout",
)  # done at once, and never kept waiting by the others

FINDINGS_KEPT = 5


class LatestVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """The latest verdict of one kind of window.

    Attributes:
        judged: World time of the judgement.
    """

    verdict: str
    start: datetime
    judged: datetime
    severity: Severity
    summary: str
    findings: tuple[str, ...] = ()


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """One check of one version in trouble, over all windows.

    Attributes:
        id: The event id of the verdict that it began with.
        since: World time of its beginning.
        windows: The latest verdict by kind of window.
        changes: Number of changes of its severity.
        told: The severity last announced to the owner.
        evaluation: The champion's latest evaluation about it.
        degraded: Whether that evaluation found a loss and has not been acted on yet.
        evaluate_after: World time before which another evaluation makes no sense.
        retrain_after: World time before which another retraining makes no sense.
        held: The reason for holding back, as last announced.
        rehearsed: The action that a dry run announced.
        report: The order for its drift report, "" before the order, "ended" after it.
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
        """Return the verdict that decides, the newest of the worst."""
        return max(self.windows.values(), key=lambda seen: (ORDER[seen.severity], seen.judged))

    @property
    def judged(self) -> datetime:
        return max(seen.judged for seen in self.windows.values())

    @property
    def key(self) -> str:
        return trouble_key(self.version, self.check)


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """An action from intent to record.

    Attributes:
        id: Its permanent name. Work orders, audit entries and route changes are named after it.
        trouble: Key of the trouble behind it.
        verdict: The event id of the verdict that decided it.
        version: The version in trouble.
        to: The version to roll back to.
        why: The reason in words.
        evidence: The basis of the decision, for the audit trail.
        begun: World time.
        placed: Whether the order is placed, or the change is made.
        waits: Why no part of its order runs, "" while it does.
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
    """The state of one model.

    Attributes:
        troubles: Incidents by `<version>/<check>`.
        inherited: Check -> replaced version that had the trouble when it lost its traffic. A
            successor with the same trouble did not bring it.
        stale_at: World time of the latest verdict of stale features. It outlives that trouble.
        action: The action in flight, at most one.
        aside: Orders still under way, of actions that made room for another action.
        ended: World time of the end of the latest intervention.
        intervention: Name of the latest intervention.
        revision: Number of writes.
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
        f"{f.subject}: {f.severity}, {'-' if f.value is None else f'{f.value:.3g}'} (threshold"
        f" {'-' if f.threshold is None else f'{f.threshold:.3g}'})"
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
    """The states in Redis. Raises redis.RedisError when Redis is out of reach."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def load(self, model: str) -> ModelState:
        return self._document(model).get() or ModelState(model=model)

    def save(self, state: ModelState) -> ModelState:
        """Write a changed state and return it as written.

        Raises:
            ConflictError: Another process wrote since the state was read.
        """
        document = self._document(state.model)
        found = document.read()
        if (found.value.revision if found.value else 0) != state.revision:
            raise ConflictError(
                f"{state.model}: another process changed the responder's state; read it again"
            )
        written = msgspec.structs.replace(state, revision=state.revision + 1)
        document.replace(found.revision, written)
        return written

    def _document(self, model: str) -> Document[ModelState]:
        return Document(self._redis, "dojo:responder:{model}", ModelState, model=model)
