"""What one stage of a rollout has shown so far: a fold over the events that carry its route's generation.

    shadow   Shadow events: both versions on every request, so each failure, late score and flag is compared pairwise
    canary   Prediction events: which arm did each failure, late answer and flag fall on
    watch    Prediction events of the new champion against the baseline that the stage before left, and Outcomes as they arrive

The state is small (counts, histograms, one e-process per check, the entities already counted) and holds the ids of the last messages
read: saved in the same write as the rollout, it makes a kill -9 anywhere lose or double nothing.

Why canary tests count each entity once. Assignment is sticky, so a customer whose requests keep failing fails on one arm all the time,
and a compromised card is flagged many times: such repetitions say nothing about the arm, but a test that takes them for independent
throws would. Which arm an entity is on *is* an independent throw (a hash with the rollout's salt): when both versions are equally
good, the next entity with its first failure is on the challenger with exactly the challenger's weight, whatever happened before.

Why failures and late answers are tested twice. The challenger alone runs in a process of its own, behind a timeout: where the champion
never fails, three failures among 10,000 requests are "all on the challenger" and still nothing. So a second process holds the
challenger's own requests against an absolute floor (limits.py), and the smaller of both e-values judges: it is one for "no worse than the
champion, or below the floor".

Why a burst counts once. One stall of a process on a busy machine hits every request that waits for it. After a counted event a test
ignores events for BURST of wall time, whichever arm they fall on: per arm, the busier one would lose more of its own. Plain counts
stay complete.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from dojo.core.events.types import Event, Outcome, Prediction, Shadow, Stream
from dojo.core.judging.rollout.arms import ArmCounts
from dojo.core.judging.rollout.evidence import Evidence, longest_silence
from dojo.core.judging.rollout.limits import label_tests, watch_limits
from dojo.core.judging.rollout.stages import Stage
from dojo.core.outcome_join import short_hash
from dojo.core.spec.schema import ModelSpec
from dojo.core.state.rollouts import Rollout
from dojo.core.state.routes import CHALLENGER_ARM
from dojo.core.tasks.protocol import Task
from dojo.core.tasks.specs import task_of
from dojo.stats.inference.sequential import probability_of_falling_on

# Reasons in Prediction.degraded that mean: the arm's version did not answer.
FAILED = frozenset({"arm_failed", "model_unavailable"})

# Entities remembered per check, for counting each once. With so many first events every check has long been decided; 130 kB at most.
ENTITIES_KEPT = 4_000

# A stall lasts some 100 ms: one is one event, rarely two. Longer bursts cost what can be seen in a world that runs fast: a fourfold error
# rate over 0.5 % takes a median of 3,000 requests at 20 requests a second, 3,100 at 100 (860 times real time) and 5,000 at 300; with
# 500 ms it would take 4,100 at 100.
BURST = timedelta(milliseconds=200)

STREAMS: dict[Stage, tuple[Stream, ...]] = {
    Stage.SHADOW: (Stream.SHADOWS,),
    Stage.CANARY: (Stream.PREDICTIONS,),
    Stage.WATCH: (Stream.PREDICTIONS, Stream.OUTCOMES),
}


def fold(evidence: Evidence, event: Event, rollout: Rollout, spec: ModelSpec) -> None:
    """Take one event in, if it belongs to the rollout's stage."""
    fold_all(evidence, (event,), rollout, spec)


def fold_all(evidence: Evidence, events: Iterable[Event], rollout: Rollout, spec: ModelSpec) -> None:
    """Take events in, in order. Many corrected labels among them cost as much as one."""
    corrected = False
    for event in events:
        if isinstance(event, Outcome):
            corrected |= _outcome(evidence, event, rollout, spec)
        else:
            _answer(evidence, event, rollout, spec)
    if corrected:
        _judge_labels_again(evidence, rollout, spec)


def _answer(evidence: Evidence, event: Event, rollout: Rollout, spec: ModelSpec) -> None:
    if (
        not isinstance(event, (Prediction, Shadow))
        or event.model != rollout.model
        or event.route_generation != evidence.generation
    ):
        return
    if isinstance(event, Shadow) and evidence.stage is Stage.SHADOW and event.version == rollout.version:
        _shadow(evidence, event, rollout, spec)
    elif isinstance(event, Prediction) and evidence.stage is Stage.CANARY:
        _canary(evidence, event, rollout, spec)
    elif isinstance(event, Prediction) and evidence.stage is Stage.WATCH:
        _watched(evidence, event, rollout, spec)
    else:
        return
    _pass_time(evidence, event.world_time, spec)


def _pass_time(evidence: Evidence, now: datetime, spec: ModelSpec) -> None:
    """A stage's time passes with its events: while nobody is answered, nothing is learnt about the version."""
    evidence.since = evidence.since or now
    gap = now - (evidence.latest or now)
    if gap < timedelta(0):  # another process wrote later what happened before
        return
    if gap <= longest_silence(evidence.stage, spec):
        evidence.covered += gap
    evidence.latest = now


def _shadow(evidence: Evidence, event: Shadow, rollout: Rollout, spec: ModelSpec) -> None:
    """Both arms saw the request. A flag of both counts once for each, which only makes the tests more careful."""
    checks, objective = spec.rollout.checks, spec.serving.latency_slo.total_seconds()
    challenger, champion = evidence.challenger, evidence.champion
    challenger.requests += 1
    champion.requests += 1
    answered, stood = event.score is not None and not event.error, event.champion_version == rollout.champion
    challenger.errors += not answered
    champion.errors += not stood
    slow = challenger.took(event.scoring_seconds, objective), champion.took(event.champion_scoring_seconds, objective)
    for check, happened, ratio, floor in (
        ("errors", (not answered, not stood), checks.error_ratio, checks.error_floor),
        ("slow", slow, checks.slow_ratio, checks.slow_floor),
    ):
        _against_floor(evidence, check, happened[0], floor, event.wall_time)
        if any(happened) and _begins(evidence, check, event.wall_time):
            for on_challenger in (True, False):
                if happened[not on_challenger]:
                    _fell_on(evidence, check, on_challenger, 0.5, ratio)
    if answered and stood:
        assert event.score is not None
        task = task_of(spec)
        for on_challenger, arm, score, flagged in (
            (True, challenger, event.score, event.flagged),
            (False, champion, event.champion_score, event.champion_flagged),
        ):
            _count_answer(arm, score, flagged, task, rollout)
            if flagged and task.flag_ratio is not None:
                _flag(evidence, on_challenger, 0.5, task.flag_ratio)


def _canary(evidence: Evidence, event: Prediction, rollout: Rollout, spec: ModelSpec) -> None:
    checks, weight = spec.rollout.checks, spec.rollout.canary_weight
    on_challenger = event.arm == CHALLENGER_ARM
    arm = evidence.challenger if on_challenger else evidence.champion
    arm.requests += 1
    # The first entity of the spec is the one that arms are assigned by.
    entity = short_hash(event.entity_keys.get(spec.entities[0], event.request_id))

    failed, degraded = _condition(event, rollout.version if on_challenger else rollout.champion)
    arm.errors += failed
    arm.degraded += degraded
    slow = arm.took(event.latency_seconds, spec.serving.latency_slo.total_seconds())
    for check, happened, ratio, floor in (
        ("errors", failed, checks.error_ratio, checks.error_floor),
        ("slow", slow, checks.slow_ratio, checks.slow_floor),
    ):
        if on_challenger:
            _against_floor(evidence, check, happened, floor, event.wall_time)
        if happened and _begins(evidence, check, event.wall_time) and _first(evidence, check, entity):
            _fell_on(evidence, check, on_challenger, weight, ratio)
    if degraded and _first(evidence, "degraded", entity):
        _fell_on(evidence, "degraded", on_challenger, weight, checks.degraded_ratio)
    if not failed:
        task = task_of(spec)
        _count_answer(arm, event.score, event.flagged, task, rollout)
        if event.flagged and task.flag_ratio is not None and _first(evidence, "declines", entity):
            _flag(evidence, on_challenger, weight, task.flag_ratio)


def _watched(evidence: Evidence, event: Prediction, rollout: Rollout, spec: ModelSpec) -> None:
    limits, arm = watch_limits(evidence.baseline, spec), evidence.challenger
    arm.requests += 1
    failed, degraded = _condition(event, rollout.version)
    arm.errors += failed
    arm.degraded += degraded
    slow = arm.took(event.latency_seconds, spec.serving.latency_slo.total_seconds())
    for check, happened, limit in (("errors", failed, limits.errors), ("slow", slow, limits.slow)):
        if not happened or _begins(evidence, check, event.wall_time):
            evidence.test(check).observe(happened, limit)
    if not failed:
        task = task_of(spec)
        _count_answer(arm, event.score, event.flagged, task, rollout)
        kept = task.kept(event.score, event.flagged)
        _label(evidence, evidence.labelled.predicted(event.request_id, kept), rollout, spec)


def _outcome(evidence: Evidence, event: Outcome, rollout: Rollout, spec: ModelSpec) -> bool:
    """Take a label in. Returns whether it corrects one that was counted."""
    if event.model != rollout.model or evidence.stage is not Stage.WATCH or evidence.since is None:
        return False
    if event.request_time < evidence.since:  # made before the watch began: no prediction in it can have this label
        return False
    label = int(event.label) if event.label % 1 == 0 else event.label  # a class waits in one byte, a value in nine
    at = event.world_time.timestamp()
    if evidence.labelled.corrected(event.request_id, label, at) is not None:
        return True
    _label(evidence, evidence.labelled.known(event.request_id, label, at), rollout, spec)
    return False


def _judge_labels_again(evidence: Evidence, rollout: Rollout, spec: ModelSpec) -> None:
    """Count every pair anew, for a sequential test cannot give back one observation. Takes 0.1 s for 20,000 pairs."""
    labelled = evidence.labelled
    labelled.trials, labelled.happened = {}, {}
    for name in label_tests(rollout.baseline, spec):
        evidence.tests.pop(name, None)
    for pair in labelled.paired.values():
        _label(evidence, pair, rollout, spec)


def _label(evidence: Evidence, joined: tuple[float, float] | None, rollout: Rollout, spec: ModelSpec) -> None:
    if joined is None:
        return
    kept, label = joined
    tests = label_tests(rollout.baseline, spec)
    for name, happened in task_of(spec).trials(kept, label, rollout.baseline).items():
        evidence.labelled.count(name, happened)
        if (limit := tests[name].limit) is not None:
            evidence.test(name).observe(happened, limit)


def _count_answer(arm: ArmCounts, score: float, flagged: bool | None, task: Task, rollout: Rollout) -> None:
    """An answer of the arm's own version, in the bins that the task compares scores in."""
    edges, _ = task.score_edges(rollout.baseline) or ((), 0.0)
    arm.answer(score, flagged, edges)


def _condition(event: Prediction, version: str) -> tuple[bool, bool]:
    """Whether the arm's own version failed to answer, and whether its answer was degraded. A failure is not counted as both."""
    failed = event.version != version or not FAILED.isdisjoint(event.degraded)
    return failed, bool(event.degraded) and not failed


def _fell_on(evidence: Evidence, check: str, on_challenger: bool, share: float, ratio: float) -> None:
    evidence.test(check).observe(on_challenger, probability_of_falling_on(share, ratio))


def _against_floor(evidence: Evidence, check: str, happened: bool, floor: float, at: datetime) -> None:
    """One request of the challenger's own."""
    # Leaving out what only repeats a burst keeps an e-process one: it would have been evidence.
    if not happened or _begins(evidence, f"{check}_floor", at):
        evidence.test(f"{check}_floor").observe(happened, floor)


def _begins(evidence: Evidence, test: str, at: datetime) -> bool:
    """Whether an event at this wall time is no part of the burst that the test has counted."""
    if (newest := evidence.newest.get(test)) is not None and abs(at - newest) < BURST:
        return False
    evidence.newest[test] = at
    return True


def _flag(evidence: Evidence, on_challenger: bool, share: float, ratio: float) -> None:
    """Two one-sided tests: the challenger flags too much, or (seen from the champion) too little."""
    _fell_on(evidence, "declines_more", on_challenger, share, ratio)
    _fell_on(evidence, "declines_fewer", not on_challenger, 1 - share, ratio)


def _first(evidence: Evidence, check: str, entity: int) -> bool:
    counted = evidence.counted.setdefault(check, set())
    if entity in counted or len(counted) >= ENTITIES_KEPT:
        return False
    counted.add(entity)
    return True
