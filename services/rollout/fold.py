"""The evidence of one stage: a fold over the events with its route's generation.

    shadow   Shadow events: both versions answer every request, so each failure, late score and flag
             is compared in pairs
    canary   Prediction events: the arm of each failure, late answer and flag
    watch    Prediction events of the new champion against the baseline of the stage before, and
             Outcomes as they arrive

The state is small: counts, histograms, one e-process per check, and the entities already counted.
It also holds the ids of the last messages read. One write saves it with the rollout, so a kill -9
loses and doubles nothing.

Canary tests count each entity once. Assignment is sticky, so a customer whose requests keep failing
fails on one arm all the time. A compromised card is flagged many times. Such repetitions show
nothing about the arm, but a test would take them for independent trials. An entity's arm *is* an
independent trial (a hash with the rollout's salt). For equally good versions, the next first
failure of an entity is on the challenger with exactly the challenger's weight. This holds after
any earlier course.

Failures and late answers are tested twice. Only the challenger runs in its own process, behind a
timeout. If the champion never fails, three failures among 10,000 requests are "all on the
challenger" and still harmless. So a second test compares the challenger's own requests with an
absolute floor (dojo/core/judging/rollout/limits.py). The smaller of both e-values decides. It is an
e-value for "no worse than the champion, or below the floor".

A burst counts once. One stall of a process on a busy machine hits every request that waits for it.
After a counted event, a test ignores events on both arms for BURST of wall time. With a pause per
arm, the busier arm would lose more of its events. Plain counts stay complete.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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

# Reasons in Prediction.degraded for an arm whose version did not answer.
FAILED = frozenset({"arm_failed", "model_unavailable"})

# Entities remembered per check, to count each once. With so many first events, every check has long
# been decided. 130 kB at most.
ENTITIES_KEPT = 4_000

# A stall lasts some 100 ms, so it counts as one event, rarely two. Longer bursts cost speed of
# detection in a fast world. For a fourfold error rate over 0.5 %, detection takes a median of 3,000
# requests at 20 requests a second. At 100 (860 times real time) it takes 3,100, at 300 it takes
# 5,000. With 500 ms it would take 4,100 at 100.
BURST = timedelta(milliseconds=200)

STREAMS: dict[Stage, tuple[str, ...]] = {
    Stage.SHADOW: (Stream.SHADOWS,),
    Stage.CANARY: (Stream.PREDICTIONS,),
    Stage.WATCH: (Stream.PREDICTIONS, Stream.OUTCOMES),
}


def fold(evidence: Evidence, event: Event, rollout: Rollout, spec: ModelSpec) -> None:
    """Add one event, if it belongs to the rollout's stage."""
    fold_all(evidence, (event,), rollout, spec)


def fold_all(
    evidence: Evidence, events: Iterable[Event], rollout: Rollout, spec: ModelSpec
) -> None:
    """Add events in order. Many corrected labels among them cost as much as one."""
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
    if (
        isinstance(event, Shadow)
        and evidence.stage is Stage.SHADOW
        and event.version == rollout.version
    ):
        _shadow(evidence, event, rollout, spec)
    elif isinstance(event, Prediction) and evidence.stage is Stage.CANARY:
        _canary(evidence, event, rollout, spec)
    elif isinstance(event, Prediction) and evidence.stage is Stage.WATCH:
        _watched(evidence, event, rollout, spec)
    else:
        return
    _pass_time(evidence, event.world_time, spec)


def _pass_time(evidence: Evidence, now: datetime, spec: ModelSpec) -> None:
    """Add a stage's time, which passes with its events. Silence shows nothing about the version."""
    evidence.since = evidence.since or now
    gap = now - (evidence.latest or now)
    if gap < timedelta(0):  # another process wrote an earlier event later
        return
    if gap <= longest_silence(evidence.stage, spec):
        evidence.covered += gap
    evidence.latest = now


def _shadow(evidence: Evidence, event: Shadow, rollout: Rollout, spec: ModelSpec) -> None:
    """Both arms saw the request. A flag by both counts for each, so the tests are more careful."""
    checks, objective = spec.rollout.checks, spec.serving.latency_slo.total_seconds()
    challenger, champion = evidence.challenger, evidence.champion
    challenger.requests += 1
    champion.requests += 1
    answered, stood = (
        event.score is not None and not event.error,
        event.champion_version == rollout.champion,
    )
    challenger.errors += not answered
    champion.errors += not stood
    slow = (
        challenger.took(event.scoring_seconds, objective),
        champion.took(event.champion_scoring_seconds, objective),
    )
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
            _count_answer(arm, score, flagged, task, rollout.baseline)
            if flagged and task.flag_ratio is not None:
                _flag(evidence, on_challenger, 0.5, task.flag_ratio)


def _canary(evidence: Evidence, event: Prediction, rollout: Rollout, spec: ModelSpec) -> None:
    on_challenger = event.arm == CHALLENGER_ARM
    version = rollout.version if on_challenger else rollout.champion
    split_answer(
        evidence, event, on_challenger, version, spec.rollout.canary_weight, rollout.baseline, spec
    )


def split_answer(
    evidence: Evidence,
    event: Prediction,
    on_challenger: bool,
    version: str,
    weight: float,
    baseline: Mapping[str, float],
    spec: ModelSpec,
) -> None:
    """Count an answer of traffic that is split between a challenger and the champion.

    Args:
        evidence: The evidence of a canary.
        event: The answer.
        on_challenger: True if the challenger's arm was drawn.
        version: The arm's version.
        weight: The challenger's share of the traffic of both, strictly between 0 and 1.
        baseline: The gate's figures of the old champion.
        spec: The model's spec.
    """
    checks = spec.rollout.checks
    arm = evidence.challenger if on_challenger else evidence.champion
    arm.requests += 1
    # Arms are assigned by the spec's first entity.
    entity = short_hash(event.entity_keys.get(spec.entities[0], event.request_id))

    failed, degraded = _condition(event, version)
    arm.errors += failed
    arm.degraded += degraded
    slow = arm.took(event.latency_seconds, spec.serving.latency_slo.total_seconds())
    for check, happened, ratio, floor in (
        ("errors", failed, checks.error_ratio, checks.error_floor),
        ("slow", slow, checks.slow_ratio, checks.slow_floor),
    ):
        if on_challenger:
            _against_floor(evidence, check, happened, floor, event.wall_time)
        if (
            happened
            and _begins(evidence, check, event.wall_time)
            and _first(evidence, check, entity)
        ):
            _fell_on(evidence, check, on_challenger, weight, ratio)
    if degraded and _first(evidence, "degraded", entity):
        _fell_on(evidence, "degraded", on_challenger, weight, checks.degraded_ratio)
    if not failed:
        task = task_of(spec)
        _count_answer(arm, event.score, event.flagged, task, baseline)
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
        _count_answer(arm, event.score, event.flagged, task, rollout.baseline)
        kept = task.kept(event.score, event.flagged)
        _label(evidence, evidence.labelled.predicted(event.request_id, kept), rollout, spec)


def _outcome(evidence: Evidence, event: Outcome, rollout: Rollout, spec: ModelSpec) -> bool:
    """Add a label. Return whether the labels must be judged again.

    That is when it corrects a counted one, or shows that answers are acted on.
    """
    if event.label is None:
        return False
    if event.model != rollout.model or evidence.stage is not Stage.WATCH or evidence.since is None:
        return False
    # A request from before the watch cannot have a prediction in it.
    if event.request_time < evidence.since:
        return False
    # A class takes one byte, a value takes nine.
    label = int(event.label) if event.label % 1 == 0 else event.label
    at = event.world_time.timestamp()
    if evidence.labelled.corrected(event.request_id, label, at) is not None:
        return True
    _label(evidence, evidence.labelled.known(event.request_id, label, at), rollout, spec)
    if event.weight > evidence.labelled.weight:  # the limits follow it
        evidence.labelled.weight = event.weight
        return True
    return False


def _judge_labels_again(evidence: Evidence, rollout: Rollout, spec: ModelSpec) -> None:
    """Count every pair anew, because a sequential test cannot give back one observation.

    Takes 0.1 s for 20,000 pairs.
    """
    labelled = evidence.labelled
    labelled.trials, labelled.happened = {}, {}
    for name in label_tests(rollout.baseline, spec, labelled.weight):
        evidence.tests.pop(name, None)
    for pair in labelled.paired.values():
        _label(evidence, pair, rollout, spec)


def _label(
    evidence: Evidence, joined: tuple[float, float] | None, rollout: Rollout, spec: ModelSpec
) -> None:
    if joined is None:
        return
    kept, label = joined
    tests = label_tests(rollout.baseline, spec, evidence.labelled.weight)
    for name, happened in task_of(spec).trials(kept, label, rollout.baseline).items():
        evidence.labelled.count(name, happened)
        if (limit := tests[name].limit) is not None:
            evidence.test(name).observe(happened, limit)


def _count_answer(
    arm: ArmCounts,
    score: float,
    flagged: bool | None,
    task: Task,
    baseline: Mapping[str, float],
) -> None:
    """Count an answer of the arm's own version, in the task's bins for comparing scores."""
    edges, _ = task.score_edges(baseline) or ((), 0.0)
    arm.answer(score, flagged, edges)


def _condition(event: Prediction, version: str) -> tuple[bool, bool]:
    """Return whether the arm's own version failed, and whether its answer was degraded.

    A failure does not also count as degraded.
    """
    failed = event.version != version or not FAILED.isdisjoint(event.degraded)
    return failed, bool(event.degraded) and not failed


def _fell_on(
    evidence: Evidence, check: str, on_challenger: bool, share: float, ratio: float
) -> None:
    evidence.test(check).observe(on_challenger, probability_of_falling_on(share, ratio))


def _against_floor(
    evidence: Evidence, check: str, happened: bool, floor: float, at: datetime
) -> None:
    """Test one of the challenger's own requests against the floor."""
    # Count only the first failure of a burst. Skipping the others can only make the test slower,
    # never wrong, because each would have counted against the version.
    if not happened or _begins(evidence, f"{check}_floor", at):
        evidence.test(f"{check}_floor").observe(happened, floor)


def _begins(evidence: Evidence, test: str, at: datetime) -> bool:
    """Whether an event at this wall time lies outside the burst that the test has counted."""
    if (newest := evidence.newest.get(test)) is not None and abs(at - newest) < BURST:
        return False
    evidence.newest[test] = at
    return True


def _flag(evidence: Evidence, on_challenger: bool, share: float, ratio: float) -> None:
    """Run two one-sided tests: the challenger flags too much, or too little."""
    _fell_on(evidence, "declines_more", on_challenger, share, ratio)
    _fell_on(evidence, "declines_fewer", not on_challenger, 1 - share, ratio)


def _first(evidence: Evidence, check: str, entity: int) -> bool:
    counted = evidence.counted.setdefault(check, set())
    if entity in counted or len(counted) >= ENTITIES_KEPT:
        return False
    counted.add(entity)
    return True
