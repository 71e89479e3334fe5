"""One look at every check of a stage, with value, number of requests and limit. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from dojo.core.judging.rollout.arms import ArmCounts
from dojo.core.judging.rollout.evidence import Evidence, longest_silence, stage_time
from dojo.core.judging.rollout.limits import label_tests, stops_at, watch_limits
from dojo.core.judging.rollout.stages import CheckResult, CheckVerdict, Stage
from dojo.core.spec.durations import format_duration
from dojo.core.spec.schema import ModelSpec
from dojo.core.tasks.records import LabelTest
from dojo.core.tasks.specs import task_of
from dojo.stats.distances.psi_noise import psi_critical_value
from dojo.stats.histograms.binning import population_stability_index

# At this e-value, more evidence is worth the wait. An equally good challenger reaches it with
# probability 0.1 at most, and then only waits longer.
SUSPICIOUS = 10.0

# Wall time in which the world moved but no event followed the route. Loading and warming a version
# takes seconds. It takes a minute on a machine busy with a training.
WARN_AFTER = timedelta(seconds=120)

# Probability that two equal score distributions exceed the noise bound at one look. The looks
# overlap almost wholly.
SCORE_TAIL = 1e-4


def check_results(
    evidence: Evidence,
    spec: ModelSpec,
    gate: dict[str, float],
    elapsed: timedelta | None,
    caught_up: bool,
) -> tuple[CheckResult, ...]:
    """Return all looks of the evidence's stage. See `judge` for the arguments."""
    at = _Stage(evidence, spec, gate, spec.rollout.minimum_requests)
    own = {Stage.SHADOW: _shadow, Stage.CANARY: _canary, Stage.WATCH: _watch}[evidence.stage](at)
    return (*own, _requests(at, caught_up), _time(at, elapsed))


@dataclass(frozen=True, slots=True)
class _Stage:
    evidence: Evidence
    spec: ModelSpec
    gate: dict[str, float]
    needed: int

    def sequential(
        self,
        check: str,
        measures: str,
        value: float | None,
        limit: float | None,
        *,
        tests: tuple[str, ...] = (),
        observations: int | None = None,
        needed: int | None = None,
        note: str = "",
        floor: float | None = None,
    ) -> CheckResult:
        """Look at one sequential test.

        Two tests may be averaged, as their mean is an e-process again.

        Args:
            check: Name of the check.
            measures: The measured quantity, in words.
            value: The challenger's rate. None without data.
            limit: Largest allowed rate. None without data.
            tests: Names of the averaged e-processes. Empty for the check's own e-process.
            observations: Requests behind the value. None for all requests of the challenger.
            needed: Requests before the check may be ok. None for the spec's minimum.
            note: Explanation for people.
            floor: Rate allowed at any rate of the champion. The check then has a second e-process
                for the floor, and the smaller e-value judges.
        """
        names = tests or (check,)
        e_value = sum(self.evidence.e_value(name) for name in names) / len(names)
        if floor is not None:
            e_value = min(e_value, self.evidence.e_value(f"{check}_floor"))
            limit = None if limit is None else max(limit, floor)
        stop = stops_at(self.evidence.stage, check, self.spec)
        requests = self.evidence.challenger.requests if observations is None else observations
        wanted = self.needed if needed is None else needed
        verdict: CheckVerdict = "ok"
        if e_value >= stop:
            verdict = "failed"
        elif requests < wanted or value is None:
            verdict = "insufficient_data"
        elif e_value >= SUSPICIOUS:
            verdict, note = (
                "insufficient_data",
                _joined(note, "suspicious: more requests will tell chance from fault"),
            )
        elif limit is not None and value > limit:
            note = _joined(note, "above the limit, within chance")
        return CheckResult(
            check=check,
            verdict=verdict,
            measures=measures,
            value=value,
            limit=limit,
            requests=requests,
            needed=wanted,
            evidence=e_value,
            stops_at=stop,
            note=note,
        )


def _shadow(at: _Stage) -> tuple[CheckResult, ...]:
    return (
        _errors(at),
        _slow(at, "scoring alone takes longer than the latency objective"),
        *_answers(at),
    )


def _canary(at: _Stage) -> tuple[CheckResult, ...]:
    checks, challenger, champion = (
        at.spec.rollout.checks,
        at.evidence.challenger,
        at.evidence.champion,
    )
    degraded = at.sequential(
        "degraded",
        "share of answers with something missing",
        _rate(challenger.degraded, challenger.requests),
        _times(checks.degraded_ratio, _rate(champion.degraded, champion.requests)),
        note=_against(champion.degraded, champion.requests),
    )
    return (
        _errors(at),
        degraded,
        _slow(at, "answered later than the latency objective"),
        *_answers(at),
    )


def _answers(at: _Stage) -> tuple[CheckResult, ...]:
    """Return the checks of flags and scores, where they can compare versions of the task."""
    task = task_of(at.spec)
    edges = task.score_edges(at.gate)
    return (
        *([_declines(at, task.flag_ratio)] if task.flag_ratio is not None else []),
        *([_scores(at, edges[1])] if edges is not None else []),
    )


def _watch(at: _Stage) -> tuple[CheckResult, ...]:
    evidence, arm = at.evidence, at.evidence.challenger
    limits = watch_limits(evidence.baseline, at.spec)
    errors = at.sequential(
        "errors",
        "share of requests it did not answer",
        _rate(arm.errors, arm.requests),
        limits.errors,
    )
    slow = at.sequential(
        "slow",
        "share answered later than the latency objective",
        _rate(arm.slow, arm.requests),
        limits.slow,
        note=_median(arm),
    )
    tests = label_tests(at.gate, at.spec, evidence.labelled.weight)
    return (errors, slow, *(_labelled(at, test) for test in tests.values()))


def _labelled(at: _Stage, test: LabelTest) -> CheckResult:
    labelled = at.evidence.labelled
    trials = labelled.trials.get(test.name, 0)
    return at.sequential(
        test.name,
        test.measures,
        _rate(labelled.happened.get(test.name, 0), trials) if test.limit is not None else None,
        test.limit,
        observations=trials,
        needed=test.needed,
        note=_joined(test.note, _selective(labelled.weight) if test.selective else ""),
    )


def _selective(weight: float) -> str:
    return f"one of {weight:g} flagged requests gets a label" if weight > 1 else ""


def _errors(at: _Stage) -> CheckResult:
    challenger, champion = at.evidence.challenger, at.evidence.champion
    return at.sequential(
        "errors",
        "share of requests it did not answer",
        _rate(challenger.errors, challenger.requests),
        _times(at.spec.rollout.checks.error_ratio, _rate(champion.errors, champion.requests)),
        note=_against(champion.errors, champion.requests),
        floor=at.spec.rollout.checks.error_floor,
    )


def _slow(at: _Stage, measures: str) -> CheckResult:
    challenger, champion = at.evidence.challenger, at.evidence.champion
    return at.sequential(
        "slow",
        f"share {measures}",
        _rate(challenger.slow, challenger.requests),
        _times(at.spec.rollout.checks.slow_ratio, _rate(champion.slow, champion.requests)),
        note=_joined(
            _median(challenger), f"champion {_median(champion)}" if _median(champion) else ""
        ),
        floor=at.spec.rollout.checks.slow_floor,
    )


def _declines(at: _Stage, ratio: float) -> CheckResult:
    challenger, champion = at.evidence.challenger, at.evidence.champion
    return at.sequential(
        "declines",
        f"share flagged, at most {ratio:g} times the champion's up or down",
        _rate(challenger.flagged, challenger.answered),
        _times(ratio, _rate(champion.flagged, champion.answered)),
        tests=("declines_more", "declines_fewer"),
        observations=challenger.answered,
        note=_against(champion.flagged, champion.answered),
    )


def _scores(at: _Stage, limit: float) -> CheckResult:
    """Check the PSI between the two arms' scores.

    It fails only above the spec's limit *and* above the noise for so few requests.
    """
    ours, theirs = at.evidence.challenger, at.evidence.champion
    value: float | None = None
    verdict: CheckVerdict = "insufficient_data"
    note = ""
    if ours.answered and theirs.answered:
        value = population_stability_index(np.array(theirs.scores), np.array(ours.scores))
        noise = psi_critical_value(
            len(ours.scores), ours.answered, theirs.answered, significance=SCORE_TAIL
        )
        note = f"chance alone reaches {noise:.3f}"
        if min(ours.answered, theirs.answered) >= at.needed:
            verdict = "failed" if value > max(limit, noise) else "ok"
    return CheckResult(
        check="scores",
        verdict=verdict,
        measures="PSI against the champion's scores",
        value=value,
        limit=limit,
        unit="psi",
        requests=ours.answered,
        needed=at.needed,
        note=note,
    )


def _requests(at: _Stage, caught_up: bool) -> CheckResult:
    requests = at.evidence.challenger.requests
    # Requests before a gap do not count, because the dropped events may have been the failures.
    unbroken = requests - at.evidence.requests_before_gap
    notes = ["" if caught_up else "still reading what was written meanwhile"]
    notes += (
        [
            f"{at.evidence.gaps} gaps: the stream had dropped events unread; {unbroken:,} requests"
            " since"
        ]
        if at.evidence.gaps
        else []
    )
    notes += [f"{at.evidence.malformed} malformed events skipped"] if at.evidence.malformed else []
    return CheckResult(
        check="requests",
        verdict="ok" if unbroken >= at.needed and caught_up else "insufficient_data",
        measures="requests that the challenger got in this stage",
        value=float(requests),
        limit=float(at.needed),
        unit="requests",
        requests=requests,
        needed=at.needed,
        note=_joined(*notes),
    )


def _time(at: _Stage, elapsed: timedelta | None) -> CheckResult:
    needed = stage_time(at.evidence.stage, at.spec)
    silence = format_duration(longest_silence(at.evidence.stage, at.spec))
    return CheckResult(
        check="time",
        verdict="ok" if elapsed is not None and elapsed >= needed else "insufficient_data",
        measures=(
            f"world time with traffic along the stage's route; silences beyond {silence} do not"
            " count"
        ),
        value=None if elapsed is None else elapsed.total_seconds(),
        limit=needed.total_seconds(),
        unit="seconds",
        requests=at.evidence.challenger.requests,
        needed=at.needed,
        note=_joined(
            (
                f"needs {format_duration(needed)}"
                if elapsed is not None
                else "no traffic follows the route yet"
            ),
            (
                f"silent for {in_minutes(at.evidence.waited)} of wall time: dojo routes show"
                f" {at.spec.name}"
                if at.evidence.waited >= WARN_AFTER
                else ""
            ),
        ),
    )


def _rate(events: int, requests: int) -> float | None:
    return events / requests if requests else None


def _times(ratio: float, rate: float | None) -> float | None:
    return None if rate is None else ratio * rate


def _against(events: int, requests: int) -> str:
    return (
        f"champion {events / requests:.2%} of {requests}"
        if requests
        else "the champion got no requests"
    )


def _median(arm: ArmCounts) -> str:
    median = arm.median_latency()
    return "" if median is None else f"median below {1000 * median:.3g} ms"


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)


def in_minutes(waited: timedelta) -> str:
    return f"{waited.total_seconds() / 60:.0f} min"
