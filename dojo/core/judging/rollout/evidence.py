"""What one stage of a rollout has shown so far. The rollout controller folds events into it (services/rollout/fold.py)."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from dojo.core.judging.rollout.arms import ArmCounts
from dojo.core.judging.rollout.limits import Baseline
from dojo.core.judging.rollout.stages import Stage
from dojo.core.outcome_join import OutcomeJoin
from dojo.core.spec.schema import ModelSpec
from dojo.stats.inference.sequential import RestartingEProcess

# Of a stage's time: a silence longer than this part of it is no time in which the version was seen. 12 minutes of a shadow stage of 2 h.
LONGEST_SILENCE = 0.1


class LabelJoin(OutcomeJoin[int | float, int | float], kw_only=True):
    """What the watch stage's answers said (`Task.kept`), joined to their labels, and what the pairs showed.

    Attributes:
        trials: Test -> labels that it applied to.
        happened: Test -> those of them where the bad thing happened.
    """

    trials: dict[str, int] = msgspec.field(default_factory=dict)
    happened: dict[str, int] = msgspec.field(default_factory=dict)

    def count(self, test: str, happened: bool) -> None:
        """Count a trial."""
        self.trials[test] = self.trials.get(test, 0) + 1
        self.happened[test] = self.happened.get(test, 0) + happened


class Evidence(msgspec.Struct, kw_only=True):
    """One stage's evidence.

    Attributes:
        cursors: per stream the id of the last message read.
        generation: of the stage's route; 0 until it is made. `since`: world time of the first event that followed it,
            `latest`: of the newest one. `covered`: world time that lies between events, without long silences. `waited`: wall time
            without any (silence.py), up to `looked`, the world and wall time of the last look.
        tests: e-processes by check; `<check>_floor` is the one of the absolute floor. `counted`: entities that a check has counted,
            as hashes. `newest`: wall time of the event that a test counted last.
        malformed: messages that are no events. `gaps`: times that the stream had lost messages before they were read,
            the last time after `requests_before_gap` of the challenger.
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

    def e_value(self, test: str) -> float:
        return self.tests[test].e_value if test in self.tests else 1.0


def encode_evidence(evidence: Evidence) -> bytes:
    return msgspec.msgpack.encode(evidence)


def decode_evidence(content: bytes) -> Evidence:
    """Raises msgspec.MsgspecError: not evidence, or an older version's."""
    return msgspec.msgpack.decode(content, type=Evidence)


def longest_silence(stage: Stage, spec: ModelSpec) -> timedelta:
    """World time between two events that still counts as time of the stage."""
    return LONGEST_SILENCE * stage_time(stage, spec)


def stage_time(stage: Stage, spec: ModelSpec) -> timedelta:
    """World time that the stage takes at least."""
    policy = spec.rollout
    return {Stage.SHADOW: policy.shadow_time, Stage.CANARY: policy.canary_time, Stage.WATCH: policy.watch_time}[stage]
