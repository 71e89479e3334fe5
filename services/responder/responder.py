"""The responder: takes verdicts in, and takes the next step for each model.

Taking in and acting are separate. Verdicts change the known troubles (troubles.py). Acting looks
only at those (decide.py). Verdicts that come twice, together or out of order therefore cannot begin
an action twice. An action waits until all verdicts of one moment are taken in. A drift and the
broken feed behind it arrive together.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import structlog
from redis import Redis

from dojo.core.events.dead_letters import DeadLetters, sift
from dojo.core.events.log import Delivery, RedisEventLog
from dojo.core.events.types import Stream, Verdict
from dojo.core.spec.schema import ModelSpec
from dojo.core.state.clock import WorldClock, wall_now
from dojo.core.state.loss import WHO, held_back
from dojo.core.state.responder_control import EVERY_MODEL, Control, Switched, read_control
from services.responder.actions import Actions, Finished
from services.responder.announcements import ResponseAnnouncements
from services.responder.decide import Circumstances, ResponseDecision, decide
from services.responder.metrics import ResponderMetrics
from services.responder.reports import Reports
from services.responder.situation import Situation
from services.responder.state import TAKES_BACK, Action, ModelState, StateStore
from services.responder.troubles import close_replaced, is_of_the_past, take

GROUP = "responder"
CONSUMER = "responder"  # the same after a restart, so that unacknowledged messages are found
BATCH = 200

# Wall time without a new verdict before an action begins. The monitor sends all verdicts of a
# window at once. The cause of a drift may be the last of them. Actions take minutes, so this is
# short.
SETTLE_SECONDS = 1.0

_NO_WAIT = timedelta(milliseconds=1)

# The switch of `dojo responder dry-run on`, for a process started with --dry-run.
DRY_BY_START = Switched(
    who="--dry-run", why="the process was started so", wall_time=datetime(1970, 1, 1, tzinfo=UTC)
)

_log = structlog.get_logger("responder")


class Responder:
    """Verdicts in, actions out. The caller repeats a call that raises one of these errors.

    Raises:
        redis.RedisError: Redis is out of reach.
        ConflictError: Another process wrote.
    """

    def __init__(
        self,
        redis: Redis,
        event_log: RedisEventLog,
        dead_letters: DeadLetters,
        specs: Mapping[str, ModelSpec],
        clock: WorldClock,
        store: StateStore,
        situation: Situation,
        actions: Actions,
        announcements: ResponseAnnouncements,
        reports: Reports,
        metrics: ResponderMetrics,
        dry_run: bool = False,
        left_out: Collection[str] = (),
        settle_seconds: float = SETTLE_SECONDS,
    ) -> None:
        """Set the responder up.

        Args:
            dry_run: Act as after `dojo responder dry-run on`.
            left_out: Models with a wrong spec. Their verdicts are passed over.
            settle_seconds: See SETTLE_SECONDS.
        """
        self._redis, self._log, self._dead_letters = redis, event_log, dead_letters
        self._specs, self._clock, self._store = specs, clock, store
        self._situation, self._actions, self._announcements = situation, actions, announcements
        self._reports, self._metrics, self._dry_run = reports, metrics, dry_run
        self._settle_seconds, self._left_out = settle_seconds, left_out
        self._heard: dict[str, float] = {}  # model -> its latest verdict, monotonic seconds

    def recover(self) -> None:
        """Take in messages that this or an earlier process read and did not acknowledge."""
        while found := self._log.reclaim(Stream.VERDICTS, GROUP, CONSUMER, BATCH, timedelta(0)):
            self.take_in(found)

    def drain(self) -> None:
        """Take in everything that is in the log now."""
        while found := self._log.read(Stream.VERDICTS, GROUP, CONSUMER, BATCH, _NO_WAIT):
            self.take_in(found)
            if len(found) < BATCH:
                break
        self._metrics.lag.labels(Stream.VERDICTS).set(self._log.lag(Stream.VERDICTS, GROUP))

    def take_in(self, deliveries: Sequence[Delivery]) -> None:
        """Announce, remember, acknowledge, in this order. A repetition announces nothing twice."""
        by_model: dict[str, list[Verdict]] = {}
        found, rejected = sift(Verdict, deliveries, self._fault)
        self._dead_letters.keep(Stream.VERDICTS, rejected)
        for _, verdict in found:
            if verdict.model in self._left_out:
                continue
            by_model.setdefault(verdict.model, []).append(verdict)
        now = self._clock.now()
        for model, verdicts in by_model.items():
            before = state = self._store.load(model)
            live = self._situation.live(model)
            for verdict in verdicts:
                if is_of_the_past(state, verdict, live):
                    continue
                state, telling = take(state, verdict)
                if telling is not None:
                    self._announcements.tell(self._specs[model], telling, now)
            if state != before:
                self._store.save(state)
            self._heard[model] = time.monotonic()
            for verdict in verdicts:
                self._metrics.verdicts.labels(model, verdict.severity).inc()
        self._log.acknowledge(
            Stream.VERDICTS, GROUP, [delivery.message_id for delivery in deliveries]
        )

    def step(self, model: str) -> bool:
        """Take the next step for a model.

        Returns:
            Whether something was done. There may then be more.

        Raises:
            RegistryUnavailableError: MLflow does not answer. Repeat the call.
            ConflictError: Another process wrote. Repeat the call.
        """
        spec, now = self._specs[model], self._clock.now()
        before = self._store.load(model)
        state = self._of_this_world(before)
        control = read_control(self._redis)
        if self._dry_run and control.dry_run is None:
            control = msgspec.structs.replace(control, dry_run=DRY_BY_START)
        self._show(state, control)
        if lost := held_back(self._redis):
            pause = Switched(who=WHO, why=lost, wall_time=wall_now())
            control = msgspec.structs.replace(
                control, paused={**control.paused, EVERY_MODEL: pause}
            )
        if state.troubles and (live := self._situation.live(model)) is not None:
            state, gone = close_replaced(state, live)
            for telling in gone:
                self._announcements.tell(spec, telling, now)
        state = self._reports.advance(spec, state, now)
        if (followed := self._follow_aside(spec, state, now)) != state:
            self._store.save(
                followed
            )  # at once: the action in flight may fail for as long as MLflow is away
            return True
        if (
            state.action is not None
            and (beside := self._begin_beside(spec, state, state.action, control, now)) is not None
        ):
            self._store.save(beside)
            return True
        if state.action is not None:
            stopped = control.pause_of(model) is not None or control.dry_run is not None
            if not stopped or self._actions.has_begun(model, state.action):
                return self._advance(spec, before, state)
            # Stopped between intent and deed. The trouble is still known. It is now announced as
            # held back, and decided again later.
            _log.info("intent dropped: actions are stopped", model=model, action=state.action.id)
            self._store.save(msgspec.structs.replace(state, action=None))
            return True
        if self._is_settled(state):
            world = self._situation.look(state, control, now)
            decision = decide(state, spec.response, world)
            if decision is not None:
                state = self._act_on(spec, state, decision, world, control)
        if state != before:
            self._store.save(state)
            return True
        return False

    def _is_settled(self, state: ModelState) -> bool:
        """Whether there is trouble, and everything that was said at once is taken in."""
        return (
            bool(state.troubles)
            and time.monotonic() - self._heard.get(state.model, 0.0) >= self._settle_seconds
        )

    def _begin_beside(
        self, spec: ModelSpec, state: ModelState, action: Action, control: Control, now: datetime
    ) -> ModelState | None:
        """Return the state with an urgent intent, for which the order in flight is put aside.

        None without such an intent.
        """
        if action.kind in TAKES_BACK or control.dry_run is not None or not self._is_settled(state):
            return None
        world = self._situation.look(state, control, now)
        roomy = msgspec.structs.replace(
            state, action=None, aside={**state.aside, action.kind: action}
        )
        decision = decide(roomy, spec.response, world)
        if decision is None:
            return None
        if not self._actions.has_begun(
            spec.name, action
        ):  # only intended: it is decided again when it is its turn
            roomy = msgspec.structs.replace(roomy, aside=state.aside)
        return self._act_on(spec, roomy, decision, world, control)

    def _follow_aside(self, spec: ModelSpec, state: ModelState, now: datetime) -> ModelState:
        """The state with the orders that were put aside a step further."""
        for kind, order in state.aside.items():
            after = self._actions.advance(spec, msgspec.structs.replace(state, action=order), now)
            found = after.state if isinstance(after, Finished) else after
            aside = {other: known for other, known in state.aside.items() if other != kind}
            if found.action is not None:
                aside[kind] = found.action
            state = msgspec.structs.replace(found, action=state.action, aside=aside)
            if isinstance(after, Finished):
                self._metrics.actions.labels(spec.name, order.kind, after.outcome).inc()
        return state

    def _act_on(
        self,
        spec: ModelSpec,
        state: ModelState,
        decision: ResponseDecision,
        world: Circumstances,
        control: Control,
    ) -> ModelState:
        """Return the state with the intent, or with a note on the announcement instead of it.

        The next step begins the action, once the intent is saved.
        """
        trouble = decision.trouble
        if decision.held:
            # Topic "later" is already announced by the previous action's end message.
            if trouble.held != decision.topic and decision.topic != "later":
                self._announcements.hold(
                    spec, trouble, decision.kind, decision.topic, decision.held, world.now
                )
            return state.with_trouble(msgspec.structs.replace(trouble, held=decision.topic))
        action = intent(spec.name, decision, world)
        if control.dry_run is not None:
            rehearsed = f"{action.kind}:{trouble.changes}"
            if trouble.rehearsed != rehearsed:
                self._announcements.rehearse(spec, action, trouble, world.now)
                self._metrics.actions.labels(spec.name, action.kind, "dry_run").inc()
            return state.with_trouble(msgspec.structs.replace(trouble, rehearsed=rehearsed))
        _log.info("intent", model=spec.name, action=action.id, why=action.why)
        state = state.with_trouble(msgspec.structs.replace(trouble, held=""))
        return msgspec.structs.replace(state, action=action)

    def _advance(self, spec: ModelSpec, before: ModelState, state: ModelState) -> bool:
        action = state.action
        assert action is not None
        after = self._actions.advance(spec, state, self._clock.now())
        changed = after.state if isinstance(after, Finished) else after
        if changed != before:
            self._store.save(changed)
        if isinstance(after, Finished):
            self._metrics.actions.labels(spec.name, action.kind, after.outcome).inc()
        return changed != before

    def _of_this_world(self, state: ModelState) -> ModelState:
        """Return the state, or an empty one if it is from another world.

        A state with a time that this world has not reached belongs to another world.
        """
        now = self._clock.now() + timedelta(
            days=1
        )  # the monitor's clock and ours may be a second of wall time apart
        begun = (action.begun for action in state.under_way)
        times = (
            *(trouble.judged for trouble in state.troubles.values()),
            state.ended,
            state.stale_at,
            *begun,
        )
        if all(moment is None or moment <= now for moment in times):
            return state
        _log.warning("the world was set back: what was known of it is forgotten", model=state.model)
        return ModelState(model=state.model, revision=state.revision)

    def _fault(self, verdict: Verdict) -> str:
        if verdict.model in self._specs or verdict.model in self._left_out:
            return ""
        return f"verdicts: there is no model {verdict.model!r}"

    def _show(self, state: ModelState, control: Control) -> None:
        self._metrics.paused.set(bool(control.paused))
        self._metrics.in_flight.labels(state.model).set(bool(state.under_way))


def intent(model: str, decision: ResponseDecision, world: Circumstances) -> Action:
    """Return the intended action, under a unique name."""
    trouble, seen = decision.trouble, decision.seen
    found = (
        f"{seen.severity} {trouble.check} of version {trouble.version} since"
        f" {trouble.since:%Y-%m-%d %H:%M}: {seen.summary}"
    )
    return Action(
        id=f"{decision.kind}-{model}-{world.now:%Y%m%dT%H%M}-{secrets.token_hex(4)}",
        kind=decision.kind,
        trouble=trouble.key,
        verdict=seen.verdict,
        version=trouble.version,
        why=f"{found}; {decision.why}",
        begun=world.now,
        evidence={
            "check": trouble.check,
            "severity": seen.severity,
            "since": trouble.since,
            "summary": seen.summary,
            "findings": list(seen.findings),
            **({"evaluation": trouble.evaluation} if trouble.evaluation else {}),
        },
        to=world.previous if decision.kind == "roll_back" else "",
    )
