"""The evidence of one stage of a rollout so far.

The rollout controller folds events into it (services/rollout/fold.py).
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from dojo.core.judging.rollout.arms import ArmCounts
from dojo.core.judging.rollout.limits import Baseline
from dojo.core.judging.rollout.stages import Stage
from dojo.core.outcome_join import OutcomeJoin
from dojo.core.spec.schema import ModelSpec
from dojo.stats.inference.sequential import RestartingEProcess

# Fraction of a stage's time. During a longer silence the version was not seen, so the time does not
# count. In a shadow stage of 2 h the limit is 12 minutes.
LONGEST_SILENCE = 0.1


class LabelJoin(OutcomeJoin[int | float, int | float], kw_only=True):
    """The watch stage's answers (`Task.kept`) joined to their labels, and the counts of the pairs.

    Attributes:
        trials: Test -> number of labels used as trials.
        happened: Test -> number of these trials with the bad event.
        weight: Largest weight of a label so far. It is 1 while no answer is acted on.
    """

    trials: dict[str, int] = msgspec.field(default_factory=dict)
    happened: dict[str, int] = msgspec.field(default_factory=dict)
    weight: float = 1.0

    def count(self, test: str, happened: bool) -> None:
        """Count a trial."""
        self.trials[test] = self.trials.get(test, 0) + 1
        self.happened[test] = self.happened.get(test, 0) + happened


class Evidence(msgspec.Struct, kw_only=True):
    """One stage's evidence.

    Attributes:
        stage: The stage.
        cursors: str -> id of the last message read.
        generation: Generation of the stage's route. 0 until the route is made.
        since: World time of the first event that followed the route.
        latest: World time of the newest event that followed the route.
        covered: World time between events, without long silences.
        waited: Wall time without any event (silence.py), up to `looked`.
        looked: World time and wall time of the last look.
        challenger: Counts of the challenger's arm.
        champion: Counts of the champion's arm.
        tests: E-processes by check. `<check>_floor` belongs to the absolute floor.
        counted: Check -> hashes of the entities already counted.
        newest: Test -> wall time of the event counted last.
        baseline: The champion's rates, for the watch.
        labelled: Answers joined to their labels.
        malformed: Number of messages that are no events.
        gaps: How often the stream had lost messages before they were read.
        requests_before_gap: Requests of the challenger before the last gap.
    """

    stage: Stage
    cursors: dict[str, str]
    generation: int = 0
    since: datetime | None = None
    latest: datetime | None = None
    covered: timedelta = timedelta(0)
    waited: timedelta = timedelta(0)
    looked: tuple[datetime, datetime] | None = None
    challenger: ArmCounts = msgspec.field(default_factory=ArmCounts)
    champion: ArmCounts = msgspec.field(default_factory=ArmCounts)
    tests: dict[str, RestartingEProcess] = {}
    counted: dict[str, set[int]] = {}
    newest: dict[str, datetime] = {}
    baseline: Baseline = Baseline()
    labelled: LabelJoin = msgspec.field(default_factory=LabelJoin)
    malformed: int = 0
    gaps: int = 0
    requests_before_gap: int = 0

    def test(self, check: str) -> RestartingEProcess:
        return self.tests.setdefault(check, RestartingEProcess())

    def lost_events(self) -> None:
        """Note a gap in a stream."""
        self.gaps += 1
        self.requests_before_gap = self.challenger.requests

    def e_value(self, test: str) -> float:
        return self.tests[test].e_value if test in self.tests else 1.0


def encode_evidence(evidence: Evidence) -> bytes:
    return msgspec.msgpack.encode(evidence)


def decode_evidence(content: bytes) -> Evidence:
    """Return stored evidence.

    Raises:
        msgspec.MsgspecError: The content is no evidence, or comes from an older version
            of the code.
    """
    return msgspec.msgpack.decode(content, type=Evidence)


def longest_silence(stage: Stage, spec: ModelSpec) -> timedelta:
    """Return the longest world time between two events that still counts as time of the stage."""
    return LONGEST_SILENCE * stage_time(stage, spec)


def stage_time(stage: Stage, spec: ModelSpec) -> timedelta:
    """Return the least world time of the stage."""
    policy = spec.rollout
    return {
        Stage.SHADOW: policy.shadow_time,
        Stage.CANARY: policy.canary_time,
        Stage.WATCH: policy.watch_time,
    }[stage]
