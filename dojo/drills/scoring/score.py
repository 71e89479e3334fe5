"""The score of a run, from its record alone. Pure.

    order         20   looked first, acknowledged, did not rush
    hypotheses    15   written down, with evidence, one refuted
    diagnosis     20   component, mechanism, trigger, scope and impact, by closed words
    mitigation    15   the outcome lasted, and survived the replay
    damage        10   begins full, and falls by what was lost or left
    verification  10   the symptom was read again, the alert ended, the outcome was watched
    post-mortem   10   compared with the record (post_mortem.py)

A point stands only where the record has its evidence. What was not measured brings none, and the
report says so. Times are shown and hardly scored. Single times are noise.

Source: Davidovic, Incident Metrics in SRE (2021), for the last rule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

import msgspec

from dojo.cli.trace import TracedCommand
from dojo.drills.record import Diagnosis, DrillRun, Sample
from dojo.drills.spec import DrillSpec
from dojo.drills.taxonomy import are_siblings, hops

Grade = Literal["strong hire", "hire", "lean hire", "no hire"]

# Beginnings of commands that show whether callers get answers, and from what.
IMPACT = ("status", "value", "models", "metrics gateway", "metrics simulator", "performance")

# Beginnings of commands that compare models, versions or callers.
SCOPE = ("models", "status", "routes", "performance", "value", "rollout", "features", "drift")

# Beginnings of commands that show what changed.
CHANGES = ("audit", "rollout", "routes", "models list", "orders", "config diff")

# Beginnings of commands that change the platform.
CHANGING = (
    "models promote", "models rollback", "models approve", "rollout abort", "rollout resume",
    "rollout start", "routes set", "routes switch", "routes clear", "bandit start", "bandit stop",
    "features materialize", "train", "retrain", "responder pause", "responder resume",
    "drift mark", "drift tune", "world pause", "world resume", "world drift", "restart", "restore",
    "config apply", "down", "up", "orders cancel", "orders release",
)  # fmt: skip

HINT_COST = 5
SECOND_ANSWER = 0.75  # of the diagnosis, for each answer after the first
UNSUPPORTED = 10  # at most, for a diagnosis without a look at what shows the cause
PER_PERCENT = 1  # point, for each percent of the answers that callers did not get
MOST_LOST, MOST_WRONG, MOST_LEFT = 4, 4, 2
CATASTROPHE = 39.0  # at most, for who loses recorded data
KEPT_KEYS = 0.5  # of the online store's keys at the page. Fewer at the end is an emptied store.


class ScoreLine(msgspec.Struct, frozen=True):
    """One line of the score.

    Attributes:
        part: The group.
        what: What was scored.
        points: Points earned.
        most: Points that could be earned.
        evidence: What in the record says so.
    """

    part: str
    what: str
    points: float
    most: float
    evidence: str


class Score(msgspec.Struct, frozen=True):
    """The whole score.

    Attributes:
        total: 0 to 100.
        gates: What limits the grade, in words.
    """

    total: float
    grade: Grade
    parts: tuple[ScoreLine, ...]
    gates: tuple[str, ...]


class _Seen(NamedTuple):
    run: DrillRun
    spec: DrillSpec
    commands: Sequence[TracedCommand]
    mitigated: datetime | None


def score(
    run: DrillRun,
    spec: DrillSpec,
    commands: Sequence[TracedCommand],
    samples: Sequence[Sample],
    post_mortem: Sequence[ScoreLine] = (),
) -> Score:
    """Score a run.

    Args:
        commands: What was called, the oldest first. Only calls since the page count.
        samples: The outcome's probe over time.
        post_mortem: Its lines, compared with the record.
    """
    paged = run.marks.get("paged")
    since = [one for one in commands if paged is not None and one.at >= paged]
    calls = [one for one in since if one.words[:1] != ("drill",)]
    seen = _Seen(run, spec, calls, mitigated_at(spec, samples, run))
    parts = (
        *_order(seen),
        *_hypotheses(seen),
        *_diagnosis(seen),
        *_mitigation(seen),
        *_damage(seen),
        *_verification(seen),
        *post_mortem,
    )
    total = sum(part.points for part in parts) - HINT_COST * run.hints
    total = round(min(CATASTROPHE if lost_by(run) else 100.0, max(0.0, total)), 1)
    gates = tuple(_gates(seen, parts))
    return Score(total, _grade(total, parts, seen), parts, gates)


def lost_by(run: DrillRun) -> str:
    """Return which data the run lost, in words. "" if none."""
    found = [f"{len(run.lost)} files of the lake"] if run.lost else []
    before, after = run.keys.get("page"), run.keys.get("end")
    if before is not None and after is not None and after < KEPT_KEYS * before:
        found.append(f"{before - after:,} of {before:,} keys of the online store")
    return ", ".join(found)


def mitigated_at(spec: DrillSpec, samples: Sequence[Sample], run: DrillRun) -> datetime | None:
    """Return when the outcome began to hold for good. None if it does not hold at the end.

    The end is the moment at which the outcome was found to last. A replay may break it again.
    """
    since, paged, held = None, run.marks.get("paged"), run.marks.get("held")
    for sample in samples:
        if held is not None and sample.at > held:
            break
        if paged is not None and sample.at >= paged and spec.outcome.holds(sample.values):
            since = since or sample.at
        else:
            since = None
    return since


def begins(command: TracedCommand, beginnings: Sequence[str]) -> bool:
    """Return whether a call begins with one of these words."""
    return any((command.said + " ").startswith(f"{one} ") for one in beginnings)


def _first(
    calls: Sequence[TracedCommand], wanted: Callable[[TracedCommand], bool]
) -> TracedCommand | None:
    return next((one for one in calls if wanted(one)), None)


def _looked(part: str, what: str, most: float, found: TracedCommand | None) -> ScoreLine:
    evidence = f"dojo {found.said}" if found else "no such command in the record"
    return ScoreLine(part, what, most if found else 0.0, most, evidence)


def _order(seen: _Seen) -> list[ScoreLine]:
    run, calls, name = seen.run, seen.commands, "order"
    change = _first(calls, lambda one: begins(one, CHANGING))
    end = change.at if change else None
    before = [one for one in calls if end is None or one.at < end]
    answer = run.diagnoses[-1] if run.diagnoses else None
    answered = run.diagnoses[0].at if run.diagnoses else None
    early = [one for one in calls if answered is None or one.at < answered]
    said_impact = answer is not None and answer.impact == seen.spec.answer.impact
    said_scope = answer is not None and answer.scope == seen.spec.answer.scope
    taken = _acknowledged_after(seen)
    in_par = taken is not None and taken <= seen.spec.par.acknowledge
    calm = change is None or bool(before)
    return [
        _looked(
            name,
            "looked at the impact before changing anything",
            3,
            _first(before, lambda one: begins(one, IMPACT)),
        ),
        _said(name, "stated the impact rightly", 3, said_impact, answer.impact if answer else ""),
        _looked(
            name, "looked which models are hit", 2, _first(early, lambda one: begins(one, SCOPE))
        ),
        _said(name, "stated the scope rightly", 2, said_scope, answer.scope if answer else ""),
        _looked(
            name, "looked what had changed", 4, _first(early, lambda one: begins(one, CHANGES))
        ),
        ScoreLine(name, "acknowledged in time", 3.0 if in_par else 0.0, 3, _lasted(taken)),
        ScoreLine(
            name,
            "did not change anything before a look",
            3.0 if calm and calls else 0.0,
            3,
            f"dojo {change.said}" if change else f"{len(calls)} commands, none of them changes",
        ),
    ]


def _acknowledged_after(seen: _Seen) -> timedelta | None:
    """Return how long the page waited. The incident may be acknowledged as any other one."""
    paged = seen.run.marks.get("paged")
    taken = _first(seen.commands, lambda one: one.code == 0 and begins(one, ("incidents ack",)))
    found = [at for at in (seen.run.marks.get("acked"), taken.at if taken else None) if at]
    return min(found) - paged if found and paged else None


def _hypotheses(seen: _Seen) -> list[ScoreLine]:
    run, name = seen.run, "hypotheses"
    answered = run.diagnoses[0].at if run.diagnoses else None
    early = [one for one in run.hypotheses if answered is None or one.at < answered]
    cited = [one for one in early if _was_called(seen, one.evidence, one.at)]
    refuted = [one for one in early if one.refuted and _was_called(seen, one.against, one.refuted)]
    sharp = [
        one
        for one in refuted
        if any(
            (one.against + " ").startswith(f"{known} ")
            for known in seen.spec.evidence.excludes.get(one.mechanism, ())
        )
    ]
    words = ", ".join(one.mechanism for one in early) or "none before the answer"
    return [
        ScoreLine(name, "two before the answer", 5.0 if len(early) >= 2 else 0.0, 5, words),
        ScoreLine(
            name,
            "each with evidence that was called",
            5.0 if early and len(cited) == len(early) else 0.0,
            5,
            f"{len(cited)} of {len(early)}",
        ),
        ScoreLine(
            name,
            "one refuted by what excludes it",
            5.0 if sharp else 2.0 if refuted else 0.0,
            5,
            f"dojo {(sharp or refuted)[0].against}" if refuted else "none refuted",
        ),
    ]


def _was_called(seen: _Seen, words: str, until: datetime) -> bool:
    return bool(words) and any(
        one.at <= until and (one.said + " ").startswith(f"{words} ") for one in seen.commands
    )


def _diagnosis(seen: _Seen) -> list[ScoreLine]:
    run, right, name = seen.run, seen.spec.answer, "diagnosis"
    if not run.diagnoses:
        return [ScoreLine(name, "an answer", 0.0, 20, "none was given")]
    given = run.diagnoses[-1]
    repeated = SECOND_ANSWER ** (len(run.diagnoses) - 1)
    parts = [
        (f"component {given.component}", _component_points(given, right.component), 6),
        (f"mechanism {given.mechanism}", _mechanism_points(given, right.mechanism), 6),
        (f"trigger {given.trigger}", 4 * (given.trigger == right.trigger), 4),
        (f"scope {given.scope}", 2 * (given.scope == right.scope), 2),
        (f"impact {given.impact}", 2 * (given.impact == right.impact), 2),
    ]
    forbidden = 5 if given.mechanism in right.forbidden else 0
    whole = max(0.0, sum(points for _, points, _ in parts) - forbidden)
    shown = _first(
        [one for one in seen.commands if one.at <= given.at],
        lambda one: begins(one, seen.spec.evidence.cause),
    )
    limit = 20.0 if shown else float(UNSUPPORTED)
    counted = min(whole, limit) * repeated
    share = counted / sum(points for _, points, _ in parts) if whole else 0.0
    note = [
        f"right: {right.component}, {right.mechanism}, {right.trigger}",
        *([f"shown by dojo {shown.said}"] if shown else ["no look at what shows it"]),
        *([f"{len(run.diagnoses)} answers"] if len(run.diagnoses) > 1 else []),
        *(["a cause that the evidence excludes"] if forbidden else []),
    ]
    return [
        ScoreLine(name, what, round(points * share, 2), most, "; ".join(note))
        for what, points, most in parts
    ]


def _component_points(given: Diagnosis, right: str) -> float:
    away = hops(given.component, right)
    return {0: 6.0, 1: 3.0, 2: 1.0}.get(99 if away is None else away, 0.0)


def _mechanism_points(given: Diagnosis, right: str) -> float:
    if given.mechanism == right:
        return 6.0
    return 3.0 if are_siblings(given.mechanism, right) else 0.0


def _mitigation(seen: _Seen) -> list[ScoreLine]:
    marks, name = seen.run.marks, "mitigation"
    held, replayed = "held" in marks, "replayed" in marks or not seen.spec.replay
    if seen.spec.control and (wrong := _wrong_changes(seen)):
        told = f"the service was well, and was changed: dojo {wrong[0].said}"
        return [ScoreLine(name, "nothing that serves was changed", 0.0, 15, told)]
    done = f"at {seen.mitigated:%H:%M:%S}" if seen.mitigated else seen.run.reason or "never seen"
    return [
        ScoreLine(name, "the harm ended, and stayed away", 10.0 if held else 0.0, 10, done),
        ScoreLine(
            name,
            f"it survived a restart of {seen.spec.replay}" if seen.spec.replay else "no replay",
            5.0 if held and replayed else 0.0,
            5,
            "once more after it" if replayed else "not seen",
        ),
    ]


def _damage(seen: _Seen) -> list[ScoreLine]:
    name, run = "damage", seen.run
    if "closed" not in run.marks:
        return [ScoreLine(name, "nothing was closed", 0.0, 10, "the drill was not resolved")]
    asked, missed = (
        run.unanswered["end"][n] - run.unanswered["page"][n]
        if {"page", "end"} <= run.unanswered.keys()
        else None
        for n in range(2)
    )
    if asked is None or missed is None or asked <= 0 or missed < 0:  # or the counter began anew
        lost, told = float(MOST_LOST), "not measured"
    else:
        lost = min(MOST_LOST, PER_PERCENT * 100 * missed / asked)
        told = f"{missed:,.0f} of {asked:,.0f} answers did not come"
    wrong = _wrong_changes(seen)
    left = run.left
    return [
        ScoreLine(name, "answers that callers got", MOST_LOST - lost, MOST_LOST, told),
        ScoreLine(
            name,
            "healthy parts left alone",
            max(0.0, MOST_WRONG - 2.0 * len(wrong)),
            MOST_WRONG,
            "; ".join(f"dojo {one.said}" for one in wrong) or "nothing else was changed",
        ),
        ScoreLine(
            name,
            "nothing left behind",
            0.0 if left else float(MOST_LEFT),
            MOST_LEFT,
            ", ".join(left) or "clean",
        ),
    ]


def _wrong_changes(seen: _Seen) -> list[TracedCommand]:
    """Return the successful changes that a right mitigation does not need."""
    return [
        one
        for one in seen.commands
        if begins(one, CHANGING) and one.code == 0 and not begins(one, seen.spec.allowed)
    ]


def _verification(seen: _Seen) -> list[ScoreLine]:
    name, marks = "verification", seen.run.marks
    end = marks.get("resolve_asked")
    after = [
        one
        for one in seen.commands
        if seen.mitigated and one.at >= seen.mitigated and begins(one, seen.spec.evidence.symptom)
    ]
    apart = len(after) >= 2 and after[-1].at - after[0].at >= seen.spec.outcome.lasting
    watched = (
        seen.mitigated is not None
        and end is not None
        and end - seen.mitigated >= seen.spec.outcome.lasting
    )
    return [
        ScoreLine(
            name,
            "read the symptom again, twice",
            4.0 if apart else 2.0 if after else 0.0,
            4,
            "; ".join(f"dojo {one.said}" for one in after[:3]) or "not read after the mitigation",
        ),
        ScoreLine(
            name,
            "the alert has ended",
            3.0 if "alert_resolved" in marks else 0.0,
            3,
            "told as resolved" if "alert_resolved" in marks else "not told as resolved",
        ),
        ScoreLine(
            name,
            "watched before closing",
            3.0 if watched else 0.0,
            3,
            _lasted(end - seen.mitigated if end and seen.mitigated else None),
        ),
    ]


def _gates(seen: _Seen, parts: Sequence[ScoreLine]) -> list[str]:
    found = []
    if not _points(parts, "order", "looked at the impact before changing anything"):
        found.append("the impact was not looked at before the first change")
    if not _points(parts, "mitigation", "the harm ended, and stayed away"):
        found.append("the harm was not ended")
    if lost := lost_by(seen.run):
        found.append(f"data is lost: {lost}")
    if seen.run.hints:
        found.append(f"{seen.run.hints} hints")
    return found


def _grade(total: float, parts: Sequence[ScoreLine], seen: _Seen) -> Grade:
    """Return the grade in the words of the interview's rubric (D3).

    The gates matter more than the sum. A fast and right fix without a look at the impact is a lean
    hire at best.
    """
    of = {name: sum(part.points for part in parts if part.part == name) for name in _names(parts)}
    looked = _points(parts, "order", "looked at the impact before changing anything") > 0
    stated = _points(parts, "order", "stated the impact rightly") > 0
    ended = _points(parts, "mitigation", "the harm ended, and stayed away") > 0
    if (
        total >= 80
        and (looked and stated)
        and of["hypotheses"] >= 10
        and ended
        and of["damage"] >= 7
        and of["verification"] >= 5
        and of.get("post-mortem", 0.0) >= 6
    ):
        return "strong hire"
    if total >= 65 and looked and ended and of["verification"] >= 5:
        return "hire"
    if total >= 50 and (ended or of["diagnosis"] > UNSUPPORTED):
        return "lean hire"
    return "no hire"


def _names(parts: Sequence[ScoreLine]) -> set[str]:
    return {part.part for part in parts}


def _points(parts: Sequence[ScoreLine], name: str, what: str) -> float:
    return sum(part.points for part in parts if part.part == name and part.what == what)


def _said(name: str, what: str, most: float, is_right: bool, said: str | None) -> ScoreLine:
    return ScoreLine(name, what, most if is_right else 0.0, most, said or "not stated")


def _between(run: DrillRun, first: str, second: str) -> timedelta | None:
    if first not in run.marks or second not in run.marks:
        return None
    return run.marks[second] - run.marks[first]


def _lasted(span: timedelta | None) -> str:
    return "not known" if span is None else f"{span.total_seconds():.0f} s"
