"""One step of one model's rollout: set the stage's route, look, then move on or roll back.

After a kill at any point, the next step continues. This rests on one order and one property.

The order is *the stage is written first, the world follows*. A decision and its evidence are one
compare-and-set in Redis. Routes and roles change only after it. The next stage is written only when
they have changed. So the stage always names work that is in progress or about to begin. It never
names work that was done and forgotten.

The property is *everything that follows is idempotent*. A route that is already right stays
(dojo/core/registry/promotion.py). Promotion and rollback in the registry can be repeated from any
half of themselves. Audit entries and messages carry the name of their transition.

    killed after ...                 the next step finds ...                         and ...
    killed after ...               the next step finds ...              and ...
    the look's save                cursors and counts of one moment     reads on, without loss
    entering shadow or canary      no evidence of that stage            notes the streams' ends,
                                                                        then makes the route
    entering promoting             the old champion, or both roles      repeats RoleChanges.promote
                                   half changed
    promotion, before watch        everything changed but the stage     repeats it, enters watch
    entering rolling_back          the challenger still in the route    gives all traffic to the
                                                                        champion, then the roles
    done, before its route         an ended rollout with a watch's      settles the route once
                                   route
    any of these, before telling   a history longer than the            announces the rest, once
                                   announced part
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

import msgspec

from dojo.core.events.types import Stream
from dojo.core.judging.rollout.decide import StageJudgement, judge
from dojo.core.judging.rollout.evidence import Evidence, encode_evidence
from dojo.core.judging.rollout.limits import baseline_of
from dojo.core.judging.rollout.stages import Stage
from dojo.core.registry.errors import RegistryUnavailableError, UnknownVersionError
from dojo.core.registry.faults import restore_command
from dojo.core.registry.promotion import RoleChanges
from dojo.core.registry.versions import CHAMPION
from dojo.core.spec.schema import ModelSpec
from dojo.core.state.clock import WorldClock, wall_now
from dojo.core.state.rollouts import Rollout
from dojo.core.state.routes import Route
from services.rollout.announcements import CONTROLLER, ROLES_UNCHANGED, RolloutAnnouncements
from services.rollout.journal import NO_EVIDENCE, SAME_EVIDENCE, Journal
from services.rollout.metrics import RolloutMetrics
from services.rollout.pace import CHAMPION_SECONDS, SAVE_SECONDS, Timer
from services.rollout.reader import EventReader
from services.rollout.requests import Taken, answer
from services.rollout.silence import gives_up, notice_of, requests_of, wait
from services.rollout.stages import route_of

# Stages after which the challenger gets more traffic. In the watch it has all of it.
NEEDS_BUDGET = frozenset({Stage.SHADOW, Stage.CANARY, Stage.PROMOTING})
BUDGET_BACK = "the error budget is back: it goes on"

READ = (Stream.PREDICTIONS, Stream.SHADOWS, Stream.OUTCOMES)


class Controller:
    """Moves rollouts. `step` may be repeated after errors of Redis, MLflow or other writers."""

    def __init__(
        self,
        specs: Mapping[str, ModelSpec],
        journal: Journal,
        reader: EventReader,
        champions: RoleChanges,
        announcements: RolloutAnnouncements,
        clock: WorldClock,
        metrics: RolloutMetrics,
        wall: Callable[[], datetime] = wall_now,
        held_back: Callable[[], str] = lambda: "",
        budget: Callable[[str, bool], str] = lambda model, waits: "",
    ) -> None:
        """Make the controller.

        Args:
            held_back: Why nothing is decided automatically, "" when nothing stands in the way. A
                rollback is always possible.
            budget: Why the error budget stops a model's rollout, "" when it does not. The second
                argument says whether it waits already.
        """
        self._specs = specs
        self._journal = journal
        self._reader = reader
        self._champions = champions
        self._announcements = announcements
        self._clock = clock
        self._metrics = metrics
        self._wall = wall
        self._held_back = held_back
        self._budget = budget
        self._ask_champion, self._change_roles, self._save = Timer(), Timer(), Timer()
        self._settled: set[str] = set()

    def step(self, model: str) -> bool:
        """Take the next step.

        Returns:
            Whether to go on at once instead of waiting for the next look.

        Raises:
            redis.RedisError: Redis is out of reach. Repeat the call.
            RegistryUnavailableError: MLflow does not answer. Repeat the call.
            ConflictError: Another process wrote. Repeat the call.
            ClockNotSetError: There is no world yet.
        """
        rollout = self._journal.rollout(model)
        if rollout is None:
            return False
        self._announcements.tell(rollout, self._specs[model].owner)
        self._show(rollout)
        if not rollout.active:
            self._settle(rollout)
            return False
        if rollout.request is not None:
            self._apply(rollout, answer(rollout))
            return True
        if rollout.stage in NEEDS_BUDGET and self._noted_budget(rollout):
            return True
        match rollout.stage:
            case Stage.AWAITING_APPROVAL:
                return False
            case Stage.ROLLING_BACK:
                return self._change_roles.is_due(model) and self._roll_back(rollout)
            case Stage.PROMOTING:
                due = self._may_go_on(rollout) and self._change_roles.is_due(model)
                return self._promote(rollout) if due else self._look_while_promoting(rollout)
            case _:
                return self._look(rollout)

    def misses_registry(self, model: str) -> bool:
        """Whether MLflow was asked and has not answered since."""
        return self._ask_champion.is_failing(model) or self._change_roles.is_failing(model)

    def _may_go_on(self, rollout: Rollout) -> bool:
        return not rollout.paused and rollout.budget != "waits" and not self._held_back()

    def _noted_budget(self, rollout: Rollout) -> bool:
        """Note in the history that the error budget stops the rollout, or lets it go on."""
        waits = rollout.budget == "waits"
        why = self._budget(rollout.model, waits)
        if rollout.budget == "overruled" or bool(why) == waits:
            return False
        changed = msgspec.structs.replace(rollout, budget="waits" if why else "")
        self._move(changed, rollout.stage, f"{why}: it waits" if why else BUDGET_BACK)
        return True

    def _look(self, rollout: Rollout) -> bool:
        spec = self._specs[rollout.model]
        evidence = self._journal.evidence(rollout)
        if evidence is None:
            # The cursors are saved before the route exists, so all of its events lie behind them.
            evidence = Evidence(stage=rollout.stage, cursors=self._reader.newest(READ))
            rollout = self._journal.save(rollout, evidence)
        wanted, current = route_of(rollout, spec), self._champions.routes.get(rollout.model)
        intact = wanted.is_served_by(current)
        by_somebody = (
            not intact
            and bool(evidence.generation)
            and current is not None
            and current.who != CONTROLLER
        )
        if (by_somebody or self._ask_champion.is_due(rollout.model)) and self._yielded(
            rollout, current if by_somebody else None
        ):
            return True
        if current is None or not intact:
            change = self._journal.change(rollout, f"{rollout.stage} of version {rollout.version}")
            current = self._champions.route(
                rollout.model, wanted.strategy, wanted.arms, change, wanted.salt
            )
        evidence.generation = current.generation
        return self._judge(rollout, evidence, current)

    def _look_while_promoting(self, rollout: Rollout) -> bool:
        """Judge the challenger until MLflow answers. Meanwhile it keeps its part of the traffic."""
        evidence = self._journal.evidence(rollout)
        return evidence is not None and self._judge(rollout, evidence, None)

    def _judge(self, rollout: Rollout, evidence: Evidence, route: Route | None) -> bool:
        """Read, judge and save.

        Returns:
            Whether the rollout moved, or more events wait.
        """
        now, spec = self._clock.now(), self._specs[rollout.model]
        with self._metrics.look_seconds.time():
            before = requests_of(evidence)
            read, caught_up = self._reader.read(evidence, rollout, spec)
            if route is not None and evidence.since is not None and rollout.stage_since is None:
                # Limited to the route's life, because a producer's clock may be wrong.
                since = min(max(evidence.since, route.changed_at), now)
                rollout = msgspec.structs.replace(rollout, stage_since=since)
            elapsed = evidence.covered if rollout.stage_since else None
            wait(evidence, now, self._wall(), heard=requests_of(evidence) > before)
            if notice := notice_of(rollout, evidence, spec, now):
                self._announcements.warn(rollout, notice, spec.owner, now)
            judgement = judge(evidence, spec, rollout.baseline, elapsed, caught_up)
            self._metrics.show_looks(rollout.model, judgement.looks)
            rollout = msgspec.structs.replace(rollout, looks=judgement.looks)
            reason = (
                judgement.reason
                if judgement.decision == "roll_back"
                else gives_up(rollout, evidence)
            )
            if reason is not None:
                self._move(rollout, Stage.ROLLING_BACK, reason, evidence=encode_evidence(evidence))
                return True
            if (
                judgement.decision != "stay"
                and rollout.stage is not Stage.PROMOTING
                and self._may_go_on(rollout)
            ):
                self._advance(rollout, evidence, judgement)
                return True
            if read or self._save.is_due(rollout.model):
                self._journal.save(rollout, evidence)
                self._save.wait(rollout.model, SAVE_SECONDS)
            return not caught_up

    def _advance(self, rollout: Rollout, evidence: Evidence, judgement: StageJudgement) -> None:
        match rollout.stage:
            case Stage.SHADOW:
                self._move(rollout, Stage.CANARY, judgement.reason, evidence=NO_EVIDENCE)
            case Stage.CANARY:
                self._move(
                    rollout,
                    Stage.PROMOTING,
                    judgement.reason,
                    evidence=self._for_promotion(evidence),
                )
            case _:
                self._move(
                    rollout, Stage.DONE, judgement.reason, evidence=encode_evidence(evidence)
                )

    def _for_promotion(self, evidence: Evidence | None) -> bytes:
        """Return the evidence so far, with cursors before all events of the watch.

        The cursors come first, because the watch's route is made before its stage.
        """
        if evidence is None:
            return NO_EVIDENCE
        others = [stream for stream in READ if stream not in (Stream.PREDICTIONS, Stream.SHADOWS)]
        evidence.cursors |= self._reader.newest(others)
        return encode_evidence(evidence)

    def _promote(self, rollout: Rollout) -> bool:
        """Change the roles, then the traffic. While MLflow is away both stay as they are."""
        self._change_roles.failed(rollout.model)  # holds until the change succeeds
        current, before = self._champions.routes.get(rollout.model), self._journal.evidence(rollout)
        # A route by another writer, newer than the stage's own. Traffic for this version itself
        # does not count, because the promotion gives it that anyway.
        newer = (
            current is not None
            and before is not None
            and 0 < before.generation < current.generation
        )
        if (
            newer
            and current is not None
            and current.who != CONTROLLER
            and current.primary.version != rollout.version
        ):
            self._give_way_to(rollout, current)
            return True
        champion = self._champion(rollout)
        if champion not in (rollout.champion, rollout.version):
            self._give_way(rollout, champion)
            return True
        try:
            self._champions.promote(
                rollout.model,
                rollout.version,
                self._journal.change(
                    rollout, f"version {rollout.version}: {rollout.history[-1].why}"
                ),
            )
        except UnknownVersionError as error:
            self._move(rollout, Stage.ROLLING_BACK, f"the registry cannot promote it: {error}")
            return True
        cursors = before.cursors if before else self._reader.newest(READ)
        watch = Evidence(stage=Stage.WATCH, cursors=cursors)
        if before is not None and before.stage is Stage.CANARY:
            watch.baseline = baseline_of(before.champion)
        self._move(rollout, Stage.WATCH, rollout.history[-1].why, evidence=encode_evidence(watch))
        return True

    def _roll_back(self, rollout: Rollout) -> bool:
        """Take the traffic away at once, with Redis alone. Change the roles when MLflow answers."""
        self._change_roles.failed(rollout.model)  # holds until the change succeeds
        why = rollout.history[-1].why
        current = self._champions.routes.get(rollout.model)
        if (
            current is not None
            and current.who != CONTROLLER
            and current.primary.version != rollout.version
        ):
            rollout = msgspec.structs.replace(
                rollout, champion=current.primary.version
            )  # an emergency: the person who acted has the last word
        try:
            self._champions.roll_back(
                rollout.model,
                self._journal.change(rollout, why),
                to=rollout.champion,
                rejected=rollout.version,
            )
        except UnknownVersionError as error:
            why = f"{why}; traffic is with version {rollout.champion}, {ROLES_UNCHANGED}: {error}"
        self._move(rollout, Stage.ROLLED_BACK, why)
        return True

    def _settle(self, rollout: Rollout) -> None:
        """After done, release the old champion, which no longer needs to stay warm."""
        if rollout.stage is not Stage.DONE or rollout.id in self._settled:
            return
        watched = route_of(
            msgspec.structs.replace(rollout, stage=Stage.WATCH), self._specs[rollout.model]
        )
        if watched.is_served_by(self._champions.routes.get(rollout.model)):
            done = route_of(rollout, self._specs[rollout.model])
            change = self._journal.change(
                rollout, f"the rollout of version {rollout.version} is done"
            )
            self._champions.route(rollout.model, done.strategy, done.arms, change, done.salt)
        self._settled.add(rollout.id)

    def _yielded(self, rollout: Rollout, route: Route | None) -> bool:
        """Whether another writer has decided which version answers.

        A person or the responder has the last word after a change of the champion or the route. The
        rollout then ends with their version.

        Args:
            route: Their route, if they changed it.
        """
        try:
            champion = self._champion(rollout)
        except RegistryUnavailableError:
            if route is not None:
                raise  # the answering version may be the new champion: wait until this is known
            self._ask_champion.failed(rollout.model)
            self._metrics.errors.labels(rollout.model, "registry").inc()
            return False
        self._ask_champion.wait(rollout.model, CHAMPION_SECONDS)
        expected = rollout.version if rollout.stage is Stage.WATCH else rollout.champion
        if champion != expected:
            self._give_way(rollout, champion)
            return True
        if route is not None:
            self._give_way_to(rollout, route)
            return True
        return False

    def _give_way_to(self, rollout: Rollout, route: Route) -> None:
        """Accept another writer's route.

        `dojo models rollback` moves the traffic before the role. The rollout goes back to the same
        version.
        """
        theirs = (
            rollout.champion if route.primary.version == rollout.version else route.primary.version
        )
        why = f"the route was changed by {route.who}: {route.why}"
        self._move(msgspec.structs.replace(rollout, champion=theirs), Stage.ROLLING_BACK, why)

    def _give_way(self, rollout: Rollout, champion: str | None) -> None:
        """Accept a changed champion.

        A role moved past the platform moves no traffic, because no gate decided that.
        """
        if rollout.stage is not Stage.WATCH and not self._champions.was_made_champion(
            rollout.model, champion
        ):
            where = f"moved to version {champion}" if champion else "removed"
            self._move(
                rollout,
                Stage.ROLLING_BACK,
                f"the champion's role was {where} in MLflow, past the platform",
            )
        elif champion == rollout.version:  # promoted by hand: the rest of the way is the same
            self._move(
                msgspec.structs.replace(rollout, budget="overruled"),
                Stage.PROMOTING,
                f"version {champion} was promoted by hand",
                evidence=self._for_promotion(self._journal.evidence(rollout)),
            )
        elif (
            rollout.stage is Stage.WATCH and champion is None
        ):  # says nothing about the version, which has all the traffic
            self._move(
                rollout,
                Stage.DONE,
                f"the champion's role was removed by hand while version {rollout.version} was"
                " watched; it still answers. Give the role back:"
                f" {restore_command(rollout.model, 'its role was removed in MLflow')}",
            )
        elif rollout.stage is Stage.WATCH and champion != rollout.champion:
            self._move(
                rollout,
                Stage.DONE,
                f"the champion was changed by hand from version {rollout.version} to {champion},"
                f" and the traffic was not: version {rollout.version} still answers. Give it to the"
                f" champion: dojo routes set {rollout.model} --strategy champion --why ...",
            )
        elif champion is None:
            self._move(rollout, Stage.ROLLING_BACK, "the model has no champion any more")
        else:
            why = (
                "the champion was changed by hand from version"
                f" {rollout.version if rollout.stage is Stage.WATCH else rollout.champion} to"
                f" {champion}"
            )
            self._move(msgspec.structs.replace(rollout, champion=champion), Stage.ROLLING_BACK, why)

    def _champion(self, rollout: Rollout) -> str | None:
        found = self._champions.registry.by_alias(rollout.model, CHAMPION)
        return found.version if found else None

    def _apply(self, rollout: Rollout, taken: Taken) -> None:
        """Carry out a person's request."""
        evidence = SAME_EVIDENCE
        if taken.after is Stage.PROMOTING:
            evidence = self._for_promotion(self._journal.evidence(rollout))
        elif taken.after is Stage.SHADOW and rollout.stage is Stage.AWAITING_APPROVAL:
            evidence = NO_EVIDENCE
        overruled = rollout.budget == "waits" and taken.overrules
        self._move(
            msgspec.structs.replace(
                rollout,
                request=None,
                paused=taken.paused,
                budget="overruled" if overruled else rollout.budget,
            ),
            taken.after,
            taken.why,
            taken.who,
            evidence,
        )

    def _move(
        self,
        rollout: Rollout,
        after: Stage,
        why: str,
        who: str = CONTROLLER,
        evidence: bytes = SAME_EVIDENCE,
    ) -> None:
        self._journal.move(rollout, after, why, who, evidence)
        for timer in (self._ask_champion, self._change_roles, self._save):
            timer.wait(rollout.model, 0)

    def _show(self, rollout: Rollout) -> None:
        since = rollout.stage_since or rollout.history[-1].world_time
        self._metrics.show_stage(
            rollout.model,
            rollout.stage,
            (self._clock.now() - since).total_seconds() if rollout.active else None,
        )
