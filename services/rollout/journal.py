"""A rollout's stage and evidence in Redis. One compare-and-set writes both."""

from __future__ import annotations

import msgspec
import structlog

from dojo.core.judging.rollout.evidence import Evidence, decode_evidence, encode_evidence
from dojo.core.judging.rollout.stages import Stage
from dojo.core.registry.promotion import Change
from dojo.core.state.clock import WorldClock
from dojo.core.state.rollouts import Rollout, Rollouts, Transition
from services.rollout.announcements import CONTROLLER

NO_EVIDENCE = b"null"  # replaces the evidence of the stage before
SAME_EVIDENCE = b""

_log = structlog.get_logger("rollout")


class Journal:
    """The controller's reads and writes of rollouts.

    Raises:
        redis.RedisError: Redis is out of reach.
        ConflictError: Another process wrote. Read again.
    """

    def __init__(self, rollouts: Rollouts, clock: WorldClock) -> None:
        self._rollouts = rollouts
        self._clock = clock

    def rollout(self, model: str) -> Rollout | None:
        return self._rollouts.get(model)

    def evidence(self, rollout: Rollout) -> Evidence | None:
        """Return the stage's evidence so far, None without any.

        While promoting, this is the evidence of the stage before.
        """
        content = self._rollouts.evidence(rollout.model)
        if content is None or content == NO_EVIDENCE:
            return None
        try:
            evidence = decode_evidence(content)
        except msgspec.MsgspecError as error:
            _log.warning(
                "unreadable evidence, the stage begins again",
                model=rollout.model,
                reason=str(error),
            )
            return None
        promoting = rollout.stage is Stage.PROMOTING and evidence.stage is not Stage.WATCH
        return evidence if evidence.stage is rollout.stage or promoting else None

    def save(self, rollout: Rollout, evidence: Evidence) -> Rollout:
        return self._rollouts.save(rollout, encode_evidence(evidence))

    def move(
        self,
        rollout: Rollout,
        after: Stage,
        why: str,
        who: str = CONTROLLER,
        evidence: bytes = SAME_EVIDENCE,
    ) -> None:
        """Write a transition, with the looks that decided it.

        A transition to the same stage records a request.
        """
        same = after is rollout.stage
        step = Transition(
            before=rollout.stage,
            after=after,
            world_time=self._clock.now(),
            who=who,
            why=why,
            looks=() if same else rollout.looks,
        )
        moved = msgspec.structs.replace(
            rollout,
            stage=after,
            # Promoting keeps the route of the stage before, so it keeps the time too.
            stage_since=rollout.stage_since if same or after is Stage.PROMOTING else None,
            history=(*rollout.history, step),
        )
        self._rollouts.save(moved, evidence)

    def change(self, rollout: Rollout, why: str) -> Change:
        """Return the record of a change of routes or roles."""
        return Change(
            key=f"{rollout.id}:{rollout.stage}",
            who=CONTROLLER,
            why=why,
            world_time=self._clock.now(),
        )
