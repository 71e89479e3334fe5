"""Writes every transition into the audit trail, and tells people about the relevant ones.

Entry and message are keyed by the rollout and the transition's place in its history. After a kill
between a transition and its announcement, the next look announces it. Each is announced once.
"""

from __future__ import annotations

from datetime import datetime

import structlog

from dojo.core.judging.rollout.stages import Stage
from dojo.core.state.audit import AuditTrail
from dojo.core.state.inbox import Notice, Notifier
from dojo.core.state.rollouts import Rollout, Transition
from services.rollout.metrics import RolloutMetrics

# Name in the audit trail when the controller itself moves a rollout.
CONTROLLER = "rollout"

# In the reason of a rollback that could move only the traffic.
ROLES_UNCHANGED = "roles could not be changed"

_log = structlog.get_logger("rollout")


class RolloutAnnouncements:
    """Announces each transition once.

    Raises redis.RedisError when Redis is out of reach. Repeat the call then.
    """

    def __init__(self, audit: AuditTrail, notifier: Notifier, metrics: RolloutMetrics) -> None:
        self._audit, self._notifier, self._metrics = audit, notifier, metrics
        self._told: dict[str, tuple[str, int]] = {}  # model -> rollout, length of its told history

    def tell(self, rollout: Rollout, owner: str) -> None:
        """Announce the new part of the rollout's history.

        Args:
            owner: Receiver of the messages.
        """
        known, count = self._told.get(rollout.model, ("", 0))
        begin = count if known == rollout.id else 0
        for at in range(begin, len(rollout.history)):
            self._tell(rollout, rollout.history[at], f"rollout:{rollout.id}:{at}", owner)
            self._told[rollout.model] = (rollout.id, at + 1)

    def warn(self, rollout: Rollout, notice: Notice, owner: str, now: datetime) -> None:
        """Send a notice about a stage, once."""
        self._notifier.tell(owner, rollout.model, notice, now)

    def _tell(self, rollout: Rollout, step: Transition, key: str, owner: str) -> None:
        what = f"rollout of version {rollout.version}: {step.before or 'started'} -> {step.after}"
        entry = self._audit.append(
            entry_id=key,
            kind="rollout",
            model=rollout.model,
            who=step.who,
            what=what,
            why=step.why,
            before=step.before,
            after=step.after,
            world_time=step.world_time,
        )
        if (notice := _notice(rollout, step, key)) is not None:
            self._notifier.tell(owner, rollout.model, notice, step.world_time)
        if entry is not None:
            if step.before is None:
                self._metrics.started.labels(rollout.model).inc()
            if step.after is Stage.ROLLED_BACK:
                self._metrics.rolled_back.labels(rollout.model).inc()
            _log.info(what, model=rollout.model, who=step.who, why=step.why)


def _notice(rollout: Rollout, step: Transition, key: str) -> Notice | None:
    """Return the message about a transition, None if it needs no message."""
    name, version = rollout.model, rollout.version
    if step.before == step.after and step.who == CONTROLLER:  # its error budget
        return Notice(
            key,
            "info",
            f"{name}: the error budget and the rollout of version {version}",
            f"{step.why}. Let it go on without: dojo rollout resume {name} --why ...",
        )
    if step.before == step.after:  # paused or resumed: the person who did it knows
        return None
    match step.after:
        case Stage.AWAITING_APPROVAL:
            return Notice(
                key,
                "warning",
                f"{name}: version {version} waits for approval",
                f"{step.why}. Look at it: dojo models show {name}@{version}. Approve: dojo rollout"
                f" approve {name} --why ... Refuse: dojo rollout abort {name} --why ...",
            )
        case Stage.WATCH:
            text = (
                f"Version {rollout.champion} stays warm beside it while it is watched: dojo rollout"
                f" show {name}"
            )
            return Notice(
                key,
                "info",
                f"{name}: version {version} is champion and has all the traffic",
                f"{step.why}. {text}",
            )
        case Stage.ROLLING_BACK:
            automatic = step.who == CONTROLLER
            return Notice(
                key,
                "page" if automatic else "info",
                f"{name}: version {version} is taken back"
                f" {'' if automatic else f'by {step.who} '}during {step.before}",
                f"{step.why}. All traffic goes to version {rollout.champion}. What was measured:"
                f" dojo rollout show {name}",
            )
        case Stage.ROLLED_BACK if ROLES_UNCHANGED in step.why:
            return Notice(
                key,
                "page",
                f"{name}: version {version} is taken back, and the registry does not say so",
                f"{step.why}. Give the role to the version that answers: dojo models promote"
                f" {name}@VERSION --why ...",
            )
        case Stage.DONE:
            unjudged = [look.check for look in step.looks if look.verdict == "insufficient_data"]
            return Notice(
                key,
                "warning" if unjudged else "info",
                f"{name}: the rollout of version {version} is done"
                + (f", {' and '.join(unjudged)} unjudged" if unjudged else ""),
                f"{step.why}. Version {rollout.champion} remains the one to go back to: dojo models"
                f" rollback {name}",
            )
        case _:
            return None
