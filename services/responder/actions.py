"""Actions, from intent to record.

Each call does the next step and may be repeated, because everything is named after the action.

    killed after ...              the next call finds ...           and ...
    the intent was saved          an action that was not placed     places its order, or makes its
                                                                    change, once
    the order, before the record  an order of the action's name     takes it as placed and announces
                                                                    it once
    traffic moved, roles not      the route as wanted, roles not    moves the roles
                                                                    (`RoleChanges`)
    the end was told, not saved   an action whose work has ended    repeats the message, which is
                                                                    sent once, and saves
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec

from dojo.core.judging.rollout.stages import Stage
from dojo.core.registry.errors import RegistryUnavailableError, UnknownVersionError
from dojo.core.registry.promotion import Change, RoleChanges
from dojo.core.spec.schema import ModelSpec
from dojo.core.state.clock import wall_now
from dojo.core.state.inbox import Urgency
from dojo.core.state.rollouts import NoRolloutError, RolloutRequest, Rollouts
from dojo.core.state.work_orders import (
    NO_DEADLINE,
    Kind,
    OrderOpenError,
    Work,
    WorkOrder,
    WorkOrders,
    is_overdue,
    overdue_words,
)
from services.responder.announcements import RESPONDER, ResponseAnnouncements
from services.responder.policy import FAMILIES
from services.responder.state import Action, Incident, ModelState

# World time until the next evaluation after one with too few labels. By then half a day's positives
# have come in. An evaluation costs seconds.
MORE_LABELS = timedelta(hours=12)

# Parts of an evaluation's answer that stay with the trouble and its audit entry.
FIGURES = (
    *("verdict", "reason", "version", "start", "end", "rows", "support"),
    *("metric", "measured", "comparable", "promised", "relative_loss", "low", "high"),
)
OUTCOME = (
    "outcome",
    "verdict",
    "gain",
    "low",
    "high",
    "version",
    "rollout",
    "reason",
    "run",
    "url",
    "error",
)


@dataclass(frozen=True, slots=True)
class Finished:
    """How an action ended.

    Attributes:
        outcome: One of metrics.OUTCOMES.
    """

    state: ModelState
    outcome: str


def began(trouble: Incident, spec: ModelSpec) -> datetime:
    """Return when the requests were made in which a trouble first showed.

    A day's verdict on performance rests on labelled requests of a longer window that ends with the
    day (`spec.drift.performance.window`). The day itself has hardly any labels.
    """
    return (
        trouble.since - spec.drift.performance.window
        if trouble.check in ("performance", "segments")
        else trouble.since
    )


@dataclass(frozen=True, slots=True)
class Actions:
    """The actions of all models."""

    orders: WorkOrders
    champions: RoleChanges
    rollouts: Rollouts
    announcements: ResponseAnnouncements
    deadline: timedelta = NO_DEADLINE  # wall time that an order may wait for a trainer

    def advance(self, spec: ModelSpec, state: ModelState, now: datetime) -> ModelState | Finished:
        """Take the action a step further. The caller saves the result.

        Returns:
            The state with its action, or `Finished` with a state without it.

        Raises:
            redis.RedisError: Redis is out of reach. Repeat the call.
            RegistryUnavailableError: MLflow does not answer. Repeat the call.
            ConflictError: Another process was faster. Repeat the call.
        """
        action = state.action
        if action is None:
            return state
        match action.kind:
            case "evaluate" | "retrain":
                return self._ordered(spec, state, action, action.kind, now)
            case "roll_back":
                return self._roll_back(spec, state, action, now)
            case "abort_rollout":
                return self._abort(spec, state, action, now)

    def has_begun(self, model: str, action: Action) -> bool:
        """Whether any part of the action was done, recorded or not. A mere intent may be dropped.

        Raises:
            redis.RedisError: Redis is out of reach.
        """
        if action.placed:
            return True
        match action.kind:
            case "evaluate" | "retrain":
                return self.orders.get(action.id) is not None
            case "roll_back":
                route = self.champions.routes.get(model)
                return route is not None and route.primary.version == action.to
            case "abort_rollout":
                rollout = self.rollouts.get(model)
                if rollout is None or rollout.version != action.version or not rollout.active:
                    return True  # perhaps by this action's request; only the record is missing
                asked = rollout.request
                return asked is not None and (asked.who, asked.why) == (RESPONDER, action.why)

    def _ordered(
        self, spec: ModelSpec, state: ModelState, action: Action, kind: Kind, now: datetime
    ) -> ModelState | Finished:
        trouble = state.troubles.get(action.trouble)
        work = self.orders.get(action.id)
        if work is None and action.placed:
            return self._failed(spec, state, action, "its order is gone from Redis", now)
        if work is None:
            since = (
                {"since": began(trouble, spec).isoformat()}
                if kind == "evaluate" and trouble is not None
                else {}
            )
            order = WorkOrder(
                id=action.id, model=spec.name, kind=kind, who=RESPONDER, why=action.why,
                world_time=action.begun, parameters=since,
            )  # fmt: skip
            try:
                work = self.orders.place(order)
            except OrderOpenError:  # another order is open: this one comes after it
                return state
        if not action.placed:
            self.announcements.began(spec, action, now)
            state = msgspec.structs.replace(
                state, action=msgspec.structs.replace(action, placed=True)
            )
        if work.state == "pending" and is_overdue(work, self.deadline):
            work = self.orders.end(
                work.order.id,
                "failed",
                {"error": overdue_words(self.deadline, "no trainer took it up")},
            )
        if not work.ended:
            return self._waiting(spec, state, str(work.notes.get("waits", "")), now)
        if kind == "evaluate":
            return self._evaluated(spec, state, action, work, now)
        return self._retrained(spec, state, action, trouble, work, now)

    def _waiting(self, spec: ModelSpec, state: ModelState, waits: str, now: datetime) -> ModelState:
        """The state with why the order waits, told once each time that it begins to."""
        action = state.action
        if action is None or action.waits == waits:
            return state
        if waits:
            self.announcements.waits(spec, action, waits, now)
        return msgspec.structs.replace(state, action=msgspec.structs.replace(action, waits=waits))

    def _evaluated(
        self, spec: ModelSpec, state: ModelState, action: Action, work: Work, now: datetime
    ) -> Finished:
        if work.state != "done":
            return self._failed(spec, state, action, str(work.answer.get("error", "")), now)
        found = {name: work.answer[name] for name in FIGURES if work.answer.get(name) is not None}
        verdict, reason = str(work.answer.get("verdict")), str(work.answer.get("reason", ""))
        outcome, what = "done", f"champion evaluated: {verdict}"
        level: Urgency = "info"
        again: datetime | None = now + spec.response.cooldown
        if found.get("version") != action.version:
            outcome, again = "no_effect", now
            reason = (
                f"version {found.get('version')} is champion by now; it was asked about version"
                f" {action.version}. {reason}"
            )
        elif verdict == "degraded":
            what, level, again = "the champion is degraded", "warning", None
        elif verdict == "insufficient_data":
            outcome, again = "no_effect", now + MORE_LABELS
            reason += f"; asked again after {again:%Y-%m-%d %H:%M} while it lasts"
        else:
            reason += ". Nothing is retrained"
        for other in state.troubles.values():  # the evaluation covers all troubles of the champion
            if other.version == action.version and FAMILIES[other.check] == "model":
                degraded = verdict == "degraded" and again is None and other.key == action.trouble
                changed = msgspec.structs.replace(
                    other, evaluation=found, degraded=degraded, evaluate_after=again
                )
                state = state.with_trouble(changed)
        return self._finish(spec, state, action, what, found, level, reason, outcome, now)

    def _retrained(
        self,
        spec: ModelSpec,
        state: ModelState,
        action: Action,
        trouble: Incident | None,
        work: Work,
        now: datetime,
    ) -> Finished:
        said = {name: work.answer[name] for name in OUTCOME if work.answer.get(name) is not None}
        outcome = str(work.answer.get("outcome", ""))
        improved = work.state == "done" and outcome in ("promote", "first")
        again: datetime | None = None
        if trouble is not None:
            if not improved:
                # Examples are as old as the label delay. Before one delay has passed since the
                # trouble began, there is nothing new to learn from.
                again = max(now + spec.response.cooldown, trouble.since + spec.label.delay.maximum)
            changed = msgspec.structs.replace(trouble, degraded=False, retrain_after=again)
            state = state.with_trouble(changed)
        state = msgspec.structs.replace(state, ended=now, intervention="a retraining")
        if improved:
            text = (
                f"Version {said.get('version')} is better and goes its way: dojo rollout show"
                f" {spec.name}. {said.get('reason', '')}"
            )
            return self._finish(
                spec,
                state,
                action,
                "the retraining found a better version",
                said,
                "info",
                text,
                "done",
                now,
            )
        if work.state == "done":
            why = (
                f"The gate said {outcome}: {said.get('reason', '')}. The champion stays, and so"
                " does what is wrong."
            )
            if again is not None:
                why += f" Next try after {again:%Y-%m-%d %H:%M} while it lasts."
            return self._finish(
                spec,
                state,
                action,
                "the retraining did not improve the model",
                said,
                "page",
                why,
                "no_effect",
                now,
            )
        why = (
            f"{work.state}: {said.get('error', '')}. The champion stays, and so does what is wrong."
        )
        return self._finish(
            spec, state, action, "the retraining failed", said, "page", why, "failed", now
        )

    def _roll_back(
        self, spec: ModelSpec, state: ModelState, action: Action, now: datetime
    ) -> Finished:
        route = self.champions.routes.get(spec.name)
        if route is not None and route.primary.version not in (action.version, action.to):
            return self._superseded(
                spec, state, action, f"version {route.primary.version} has the traffic by now", now
            )
        if route is None or route.primary.version == action.version:
            try:
                self.champions.registry.get(spec.name, action.to)
            except UnknownVersionError as error:
                return self._failed(spec, state, action, str(error), now)
            except RegistryUnavailableError:
                pass  # traffic comes first, and needs only Redis
        self.announcements.began(spec, action, now)
        change = Change(key=action.id, who=RESPONDER, why=action.why, world_time=action.begun)
        self.champions.roll_back(spec.name, change, to=action.to)
        state = msgspec.structs.replace(state, ended=now, intervention="a rollback")
        text = (
            f"Version {action.to} has the traffic and is champion again. What was measured: dojo"
            f" drift show {spec.name}"
        )
        what = f"version {action.version} was rolled back to {action.to}"
        return self._finish(spec, state, action, what, {}, "page", text, "done", now)

    def _abort(
        self, spec: ModelSpec, state: ModelState, action: Action, now: datetime
    ) -> ModelState | Finished:
        rollout = self.rollouts.get(spec.name)
        if rollout is None or rollout.version != action.version or rollout.stage is Stage.DONE:
            return self._superseded(spec, state, action, "its rollout has ended otherwise", now)
        if rollout.active:
            if not action.placed:
                try:
                    request = RolloutRequest(
                        action="abort", who=RESPONDER, why=action.why, wall_time=wall_now()
                    )
                    self.rollouts.request(spec.name, request)
                except NoRolloutError:  # it has just ended
                    return state
                self.announcements.began(spec, action, now)
                action = msgspec.structs.replace(action, placed=True)
            return msgspec.structs.replace(state, action=action)
        state = msgspec.structs.replace(state, ended=now, intervention="a rollback")
        text = f"Version {rollout.champion} has the traffic again: dojo rollout show {spec.name}"
        what = f"the rollout of version {action.version} was aborted"
        return self._finish(
            spec, state, action, what, {"to": rollout.champion}, "page", text, "done", now
        )

    def _failed(
        self, spec: ModelSpec, state: ModelState, action: Action, why: str, now: datetime
    ) -> Finished:
        """Leave the trouble to people, because the automatic action failed."""
        trouble = state.troubles.get(action.trouble)
        if trouble is not None:
            later = now + spec.response.cooldown
            state = state.with_trouble(
                msgspec.structs.replace(trouble, evaluate_after=later, retrain_after=later)
            )
        state = msgspec.structs.replace(
            state, ended=now, intervention=f"a failed attempt to {action.kind.replace('_', ' ')}"
        )
        what = f"{action.kind.replace('_', ' ')} failed"
        return self._finish(spec, state, action, what, {"error": why}, "page", why, "failed", now)

    def _superseded(
        self, spec: ModelSpec, state: ModelState, action: Action, why: str, now: datetime
    ) -> Finished:
        what = f"{action.kind.replace('_', ' ')} of version {action.version} was given up"
        return self._finish(
            spec, state, action, what, {"reason": why}, "info", why, "no_effect", now
        )

    def _finish(
        self,
        spec: ModelSpec,
        state: ModelState,
        action: Action,
        what: str,
        after: Mapping[str, Any],
        level: Urgency,
        text: str,
        outcome: str,
        now: datetime,
    ) -> Finished:
        self.announcements.ended(spec, action, what, {**after, "result": outcome}, level, text, now)
        return Finished(msgspec.structs.replace(state, action=None), outcome)
