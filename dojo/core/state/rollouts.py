"""Rollouts: one challenger's journey to all traffic, as Redis remembers it.

One document per model, `dojo:rollout:<model>`: the latest rollout, of which at most one is active.
`dojo:rollout:<model>:evidence` is what its controller has measured, written in the same step.

    awaiting_approval -> shadow -> canary -> promoting -> watch -> done
            \\-------------\\---------\\-----------\\---------\\-> rolling_back -> rolled_back

The controller moves it. Everything else starts one, reads it, or leaves a `RolloutRequest` on it.
All writes compare the revision.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal, cast

import msgspec
from redis import Redis

from dojo.core.judging.rollout.stages import ENDED, CheckResult, Stage
from dojo.core.spec.schema import ModelSpec
from dojo.core.state.atomic import ConflictError
from dojo.core.state.documents import Document

Action = Literal["pause", "resume", "promote", "abort", "approve"]


class RolloutActiveError(RuntimeError):
    """The model already has an active rollout. The message names it and how to end it."""


class NoRolloutError(LookupError):
    """The model has no rollout, or none that could take the request."""


class RequestPendingError(RuntimeError):
    """A request waits for the controller. The message names it."""


class Transition(msgspec.Struct, frozen=True, kw_only=True):
    """One step of the journey. `looks` holds the last look at each check, which decided it."""

    before: Stage | None
    after: Stage
    world_time: datetime
    who: str
    why: str
    looks: tuple[CheckResult, ...] = ()


class RolloutRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a person asks the controller to do."""

    action: Action
    who: str
    why: str
    wall_time: datetime


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """One challenger's journey.

    Attributes:
        id: `<model>-<version>-<world time>-<its first revision>`. It is the salt of the rollout's
            routes and the key of its audit entries.
        champion: The version that the challenger is compared with. A rollback returns to it.
        baseline: What the challenger is compared with, by name (`Task.baseline`).
        revision: Counts writes, from 1.
        stage_since: World time at which traffic first followed the stage's route. None until then.
        looks: The latest look at every check of the stage.
        request: A person's request that the controller has not taken yet.
        budget: "waits" while a spent error budget stops the rollout, "overruled" after a person
            let it go on, "" otherwise.
    """

    id: str
    model: str
    version: str
    champion: str
    started: datetime
    why: str
    who: str
    stage: Stage
    revision: int = 1
    stage_since: datetime | None = None
    paused: bool = False
    baseline: dict[str, float] = {}
    looks: tuple[CheckResult, ...] = ()
    history: tuple[Transition, ...] = ()
    request: RolloutRequest | None = None
    budget: Literal["", "waits", "overruled"] = ""

    @property
    def active(self) -> bool:
        return self.stage not in ENDED


class Rollouts:
    """The rollouts in Redis. Raises redis.RedisError when it is out of reach."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def get(self, model: str) -> Rollout | None:
        """The latest rollout, active or ended."""
        return self._document(model).get()

    def evidence(self, model: str) -> bytes | None:
        """What the controller saved with the rollout."""
        return cast("bytes | None", self._redis.get(_evidence_key(model)))

    def start(
        self,
        spec: ModelSpec,
        version: str,
        champion: str,
        now: datetime,
        who: str,
        why: str,
        baseline: dict[str, float],
        again: bool = False,
    ) -> Rollout:
        """Begin a challenger's rollout. A repeated start returns the latest one, active or ended.

        Args:
            again: Give a version whose rollout has ended another one.

        Raises:
            RolloutActiveError: Another version's rollout is active.
            NoRolloutError: The version is the champion.
        """
        current = self.get(spec.name)
        if current is not None and current.version == version and (current.active or not again):
            return current
        if current is not None and current.active:
            raise RolloutActiveError(
                f"{spec.name}: version {current.version} is already being rolled out"
                f" ({current.stage}, since {current.started:%Y-%m-%d %H:%M}); version {version} has"
                " to wait until it is done, or until somebody aborts it: dojo rollout abort"
                f" {spec.name}"
            )
        if version == champion:
            raise NoRolloutError(f"{spec.name}: version {version} is the champion already")
        first = Stage.AWAITING_APPROVAL if spec.rollout.approval == "required" else Stage.SHADOW
        revision = current.revision + 1 if current else 1
        rollout = Rollout(
            # The revision keeps ids apart: the world may stand still between two starts.
            id=f"{spec.name}-{version}-{now:%Y%m%dT%H%M%S}-{revision}",
            model=spec.name,
            version=version,
            champion=champion,
            started=now,
            why=why,
            who=who,
            stage=first,
            revision=revision,
            baseline=baseline,
            history=(Transition(before=None, after=first, world_time=now, who=who, why=why),),
        )
        self._write(rollout, b"null")  # no evidence yet
        return rollout

    def request(self, model: str, request: RolloutRequest) -> Rollout:
        """Leave a request for the controller.

        Only `abort` replaces a request that the controller has not taken yet. Repeating a request
        has no effect, and the first requester stays on record.

        Raises:
            NoRolloutError: No rollout is active.
            RequestPendingError: Another request waits for the controller.
            ConflictError: Another process was faster. Repeat the request.
        """
        current = self.get(model)
        if current is None or not current.active:
            raise NoRolloutError(
                f"{model}: no rollout is active"
                + (f", the last one is {current.stage}" if current else "")
            )
        waiting = current.request
        if waiting is not None and request.action != "abort":
            if waiting.action == request.action:
                return current
            raise RequestPendingError(
                f"{model}: {waiting.action} by {waiting.who} ({waiting.why}) waits for the"
                " controller to take it; then ask again. Only abort goes before: dojo rollout"
                f" abort {model}"
            )
        return self.save(msgspec.structs.replace(current, request=request))

    def save(self, rollout: Rollout, evidence: bytes = b"") -> Rollout:
        """Write a changed rollout and its evidence. Returns the rollout as written.

        The caller passes the rollout with the revision that it read.

        Raises:
            ConflictError: Another process wrote since it was read.
        """
        written = msgspec.structs.replace(rollout, revision=rollout.revision + 1)
        self._write(written, evidence)
        return written

    def _write(self, rollout: Rollout, evidence: bytes) -> None:
        document = self._document(rollout.model)
        found = document.read()
        if (found.value.revision if found.value else 0) != rollout.revision - 1:
            raise ConflictError(
                f"{rollout.model}: the rollout was changed meanwhile; read it again"
            )
        writes = [("SET", _evidence_key(rollout.model), evidence)] if evidence else []
        document.replace(found.revision, rollout, writes=writes)

    def _document(self, model: str) -> Document[Rollout]:
        return Document(self._redis, "dojo:rollout:{model}", Rollout, model=model)


def _evidence_key(model: str) -> str:
    return f"dojo:rollout:{model}:evidence"
