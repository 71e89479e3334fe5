"""One step of one model's bandit: make its route, read, cut broken arms, move the shares.

As in a rollout, *the decision is written first, the route follows*. Shares, evidence and cursors
are one compare-and-set. The route is then made as the document says. A killed controller reads on
from the cursors of the last save. So no reward is lost, and none counts twice.

The person who changes a route has the last word. A route by another author ends the bandit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from zlib import crc32

import msgspec
import numpy as np
import structlog

from dojo.core.judging.bandit_shares import next_shares, without
from dojo.core.judging.bandits import BanditEvidence, broken, new_evidence
from dojo.core.registry.promotion import Change, RoleChanges, full_traffic
from dojo.core.spec.bandit import BanditLimits
from dojo.core.spec.schema import ModelSpec
from dojo.core.state.audit import Entry
from dojo.core.state.bandits import Bandit, Bandits
from dojo.core.state.clock import WorldClock
from dojo.core.state.documents import Stored
from dojo.core.state.inbox import Notice, Notifier
from dojo.core.state.routes import Arm, Route
from services.rollout.announcements import CONTROLLER
from services.rollout.bandits.context import context_of
from services.rollout.bandits.fold import STREAMS, fold_all, inputs_of
from services.rollout.bandits.metrics import BanditMetrics
from services.rollout.bandits.states import in_words, states_of
from services.rollout.reader import EventReader

# World time between two sets of coefficients. Each is 5 kB in the audit trail, for good.
REDRAW_AFTER = timedelta(days=1)


_log = structlog.get_logger("rollout")


class BanditController:
    """Moves bandits. `step` may be repeated after errors of Redis and of other writers."""

    def __init__(
        self,
        specs: Mapping[str, ModelSpec],
        bandits: Bandits,
        reader: EventReader,
        changes: RoleChanges,
        notifier: Notifier,
        clock: WorldClock,
        metrics: BanditMetrics,
        held_back: Callable[[], str] = lambda: "",
    ) -> None:
        """Make the controller.

        Args:
            held_back: Why no share is moved automatically, "" when nothing stands in the way. A
                broken arm loses its traffic in any case.
        """
        self._specs, self._bandits, self._reader = specs, bandits, reader
        self._changes, self._notifier = changes, notifier
        self._clock, self._metrics, self._held_back = clock, metrics, held_back
        self._unsaved: dict[str, tuple[str, BanditEvidence]] = {}  # model -> bandit, its evidence

    def step(self, model: str) -> None:
        """Take the next step.

        Raises:
            redis.RedisError: Redis is out of reach. Repeat the call.
            ConflictError: Another process wrote. Repeat the call.
            ClockNotSetError: There is no world yet.
        """
        found, spec = self._bandits.read(model), self._specs[model]
        bandit, limits = found.value, spec.bandit
        if bandit is None:
            return
        if not bandit.active:
            self._settle(bandit)
            return
        if limits is None:
            self._end(found, bandit, "the spec has no section bandit any more")
            return
        try:
            self._move(found, bandit, spec, limits)
        except BaseException:
            # What was read since the last save may be half of an event. It is read again.
            self._unsaved.pop(model, None)
            raise

    def _move(
        self, found: Stored[Bandit], bandit: Bandit, spec: ModelSpec, limits: BanditLimits
    ) -> None:
        evidence = self._evidence(bandit, limits)
        if evidence is None:
            # The cursors are saved before the route exists, so all of its events lie behind them.
            values = 1 + len(limits.context) if bandit.policy == "linear" else 0
            cursors = self._reader.newest(STREAMS)
            evidence = new_evidence(len(bandit.arms), values, cursors)
            found = self._save(found, bandit, evidence)
        current = self._changes.routes.get(bandit.model)
        if bandit.generation and not bandit.is_served_by(current):
            by = f"by {current.who}: {current.why}" if current else "to the registry's champion"
            self._end(found, bandit, f"the route was changed {by}")
            return
        route = self._route(bandit)
        evidence.serves(route.generation, bandit.shares)
        if route.generation != bandit.generation:
            bandit = msgspec.structs.replace(bandit, generation=route.generation)
            found = self._save(found, bandit, evidence)
        self._reader.read_into(
            evidence, STREAMS, lambda events: fold_all(evidence, events, bandit, spec)
        )
        now = self._clock.now()
        if self._cut(found, bandit, evidence, spec, now):
            return
        if now - (bandit.updated or bandit.started) >= limits.update:
            self._update(found, bandit, evidence, spec, limits, now)

    def _cut(
        self,
        found: Stored[Bandit],
        bandit: Bandit,
        evidence: BanditEvidence,
        spec: ModelSpec,
        now: datetime,
    ) -> bool:
        """Take the traffic from an arm that is broken. Return whether there was one."""
        for at, guard in enumerate(evidence.guards, start=1):
            arm = bandit.arms[at]
            if arm.name in bandit.closed or not (why := broken(guard, spec)):
                continue
            shares = without(np.array(bandit.shares), at)
            cut = _with_shares(bandit, shares, f"version {arm.version} is broken: {why}")
            cut = msgspec.structs.replace(
                cut,
                recorded=cut.shares,
                closed={**bandit.closed, arm.name: why},
                draw=msgspec.structs.replace(bandit.draw, context=None),
                drawn=None,
            )
            entry = _entry(bandit, f"cut:{arm.name}", now, f"{arm.name} lost its traffic", why)
            self._save(found, cut, evidence, entry)
            self._route(cut)
            notice = Notice(
                f"{bandit.id}:cut:{arm.name}",
                "page",
                f"{bandit.model}: version {arm.version} lost its part of the bandit's traffic",
                f"{why}. Its share goes to the champion. Look at it: dojo bandit show"
                f" {bandit.model}",
            )
            self._notifier.tell(spec.owner, bandit.model, notice, now)
            return True
        return False

    def _update(
        self,
        found: Stored[Bandit],
        bandit: Bandit,
        evidence: BanditEvidence,
        spec: ModelSpec,
        limits: BanditLimits,
        now: datetime,
    ) -> None:
        """Count what is ripe, and move the shares."""
        evidence.ripen(now.timestamp(), limits.reward, spec.label.delay.maximum.total_seconds())
        states, regret = states_of(bandit, evidence)
        changed = msgspec.structs.replace(
            bandit, updated=now, updates=bandit.updates + 1, states=states, regret=regret
        )
        if not bandit.paused_by and not self._held_back():
            changed = self._shares(changed, evidence, limits)
        self._save(found, changed, evidence)
        self._metrics.show(changed)
        self._route(changed)

    def _shares(self, bandit: Bandit, evidence: BanditEvidence, limits: BanditLimits) -> Bandit:
        open_arms = [arm.name not in bandit.closed for arm in bandit.arms]
        seed = crc32(f"{bandit.id}:{bandit.updates}".encode())
        current = np.array(bandit.shares)
        if bandit.policy == "linear":
            now = bandit.updated
            if now and bandit.drawn and now - bandit.drawn < REDRAW_AFTER:
                return bandit
            context, shares = context_of(bandit, evidence, limits, inputs_of(limits), seed)
            draw = msgspec.structs.replace(bandit.draw, context=context)
            drawn = now if context is not None else None
            bandit = msgspec.structs.replace(bandit, draw=draw, drawn=drawn)
        else:
            shares = next_shares(bandit.policy, limits, evidence.rewards, current, open_arms, seed)
        changed = _with_shares(bandit, shares, in_words(bandit))
        before = bandit.recorded or bandit.shares
        # Coefficients are in no other place, and without them no draw could be repeated.
        is_worth_it = changed.draw.context is not None or any(
            abs(share - old) >= limits.audited_step
            for share, old in zip(changed.shares, before, strict=True)
        )
        return msgspec.structs.replace(changed, recorded=changed.shares if is_worth_it else before)

    def _route(self, bandit: Bandit) -> Route:
        """Make the route as the bandit says. It stays where it is right already."""
        change = Change(
            key=f"{bandit.id}:{bandit.updates}",
            who=CONTROLLER,
            why=f"{bandit.policy} bandit: {bandit.because}",
            world_time=self._clock.now(),
        )
        return self._changes.route(
            bandit.model,
            "bandit",
            bandit.arms,
            change,
            bandit.id,
            draw=bandit.draw,
            recorded=not bandit.generation or bandit.recorded == bandit.shares,
        )

    def _settle(self, bandit: Bandit) -> None:
        """After a stop, give all traffic to the champion, if the bandit's route is still there."""
        current = self._changes.routes.get(bandit.model)
        if bandit.is_served_by(current):
            change = Change(
                key=f"{bandit.id}:end",
                who=CONTROLLER,
                why=f"the bandit has ended: {bandit.ended_why}",
                world_time=self._clock.now(),
            )
            arms = full_traffic(bandit.arms[0].version, None)
            self._changes.route(bandit.model, "champion", arms, change)
        if bandit.model in self._unsaved:
            del self._unsaved[bandit.model]
            self._metrics.forget(bandit)

    def _end(self, found: Stored[Bandit], bandit: Bandit, why: str) -> None:
        now = self._clock.now()
        ended = msgspec.structs.replace(bandit, ended=now, ended_why=why)
        self._bandits.save(found, ended, audit=_entry(bandit, "end", now, "bandit ended", why))
        _log.info("the bandit has ended", model=bandit.model, why=why)

    def _evidence(self, bandit: Bandit, limits: BanditLimits) -> BanditEvidence | None:
        """Return the evidence, None before the first or where it is of no use any more."""
        known = self._unsaved.get(bandit.model)
        if known is not None and known[0] == bandit.id:
            return known[1]
        content = self._bandits.evidence(bandit.model)
        if content is None:
            return None
        try:
            evidence = msgspec.msgpack.decode(content, type=BanditEvidence)
        except msgspec.MsgspecError as error:
            _log.warning("unreadable evidence", model=bandit.model, reason=str(error))
            return None
        values = 1 + len(limits.context)
        if any(len(arm.response) != values for arm in evidence.linear):
            _log.warning("the spec has other inputs now", model=bandit.model)
            return None
        self._unsaved[bandit.model] = (bandit.id, evidence)
        return evidence

    def _save(
        self,
        found: Stored[Bandit],
        bandit: Bandit,
        evidence: BanditEvidence,
        audit: Entry | None = None,
    ) -> Stored[Bandit]:
        stored = self._bandits.save(found, bandit, msgspec.msgpack.encode(evidence), audit)
        self._unsaved[bandit.model] = (bandit.id, evidence)
        return stored


def _with_shares(bandit: Bandit, shares: Sequence[float] | np.ndarray, because: str) -> Bandit:
    arms = [
        Arm(arm.name, arm.version, float(share))
        for arm, share in zip(bandit.arms, shares, strict=True)
    ]
    return msgspec.structs.replace(bandit, arms=tuple(arms), because=because)


def _entry(bandit: Bandit, key: str, now: datetime, what: str, why: str) -> Entry:
    return Entry(
        entry_id=f"{bandit.id}:{key}",
        kind="bandit",
        model=bandit.model,
        who=CONTROLLER,
        what=what,
        why=why,
        before={"shares": bandit.shares},
        after={"states": bandit.states},
        world_time=now,
    )
