"""One drill's file, `drills/<area>/<id>.yaml`. Unknown keys and words are refused."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from dojo.core.spec.durations import Duration
from dojo.core.spec.section import Section, Text
from dojo.drills.taxonomy import COMPONENTS, IMPACTS, MECHANISMS, TRIGGERS

Slug = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$", max_length=40)]

FaultName = Literal["stray_recorder", "broken_file", "changed_rule"]
ProbeName = Literal["lake_behind_seconds", "features_behind_days", "false_alarm"]


def _word(words: tuple[str, ...]) -> AfterValidator:
    """Return what refuses other words."""

    def check(found: str) -> str:
        if found not in words:
            raise ValueError(f"must be one of {', '.join(words)}; got {found!r}")
        return found

    return AfterValidator(check)


Component = Annotated[str, _word(COMPONENTS)]
Mechanism = Annotated[str, _word(MECHANISMS)]
Trigger = Annotated[str, _word(TRIGGERS)]
Impact = Annotated[str, _word(IMPACTS)]


class Par(Section):
    """Usual times of a competent person, from the page on. Wall time. They are shown, not scored,
    but for the acknowledgement.
    """

    acknowledge: Duration
    answer: Duration
    resolve: Duration


class WorldPace(Section):
    """World seconds per wall second, until the witness has seen the fault and afterwards."""

    incubate: Annotated[float, Field(gt=0, le=86_400)]
    hold: Annotated[float, Field(gt=0, le=86_400)]


class Condition(Section):
    """A bound on a probe, over a stretch of wall time.

    Attributes:
        probe: The measured quantity (dojo/drills/probes.py).
        at_least: The value must not be lower.
        at_most: The value must not be higher.
        lasting: It must hold for so long without a break.
        within: It must begin to hold so soon, or is given up.
    """

    probe: ProbeName
    at_least: float | None = None
    at_most: float | None = None
    lasting: Duration
    within: Duration

    def holds(self, value: float | None) -> bool:
        """Return whether a value is within the bounds. No value never is."""
        if value is None:
            return False
        low = self.at_least is None or value >= self.at_least
        return low and (self.at_most is None or value <= self.at_most)


class AwaitedPage(Section):
    """How the person hears of it: the alert that must come, and how soon after the witness."""

    alert: Text
    within: Duration


class RightAnswer(Section):
    """The right diagnosis.

    Attributes:
        component: Where the fault is.
        mechanism: What it does there.
        trigger: What brought it.
        impact: What callers get meanwhile.
        scope: Models whose callers or data are hurt. `all` is every one.
        forbidden: Mechanisms that a reading of the evidence excludes.
    """

    component: Component
    mechanism: Mechanism
    trigger: Trigger
    impact: Impact
    scope: Text
    forbidden: tuple[Mechanism, ...] = ()


class TellingCommands(Section):
    """Commands that show something, as beginnings of a `dojo` call, such as `drift show`.

    Attributes:
        cause: One of these must be in the record before the diagnosis.
        symptom: These show the symptom itself, so they verify the mitigation.
        excludes: Rival mechanism -> the commands that rule it out.
    """

    cause: Annotated[tuple[str, ...], Field(min_length=1)]
    symptom: Annotated[tuple[str, ...], Field(min_length=1)]
    excludes: dict[Mechanism, tuple[str, ...]] = Field(default_factory=dict)


class DrillSpec(Section):
    """One drill.

    Attributes:
        id: Its name, the file's name too.
        title: One line without the cause, for the list.
        designs: The designs that it practises.
        level: 1 has one hop and one signal, 4 is delayed or silent.
        control: True if the service is well. Then a change of what serves is no mitigation.
        fault: What is injected (dojo/drills/faults).
        witness: An independent measurement that sees data or callers hurt.
        outcome: What a mitigation must reach.
        replay: The process that is restarted at the end. The outcome must survive it. "" is none.
        allowed: Changing commands that a right mitigation may use.
        hints: From a first look to nearly the cause. Each costs points.
        story: What happened, told in the report.
    """

    id: Slug
    title: Text
    designs: Annotated[tuple[str, ...], Field(min_length=1)]
    level: Annotated[int, Field(ge=1, le=4)]
    par: Par
    pace: WorldPace
    control: bool = False
    fault: FaultName
    witness: Condition
    page: AwaitedPage
    answer: RightAnswer
    evidence: TellingCommands
    outcome: Condition
    replay: str = ""
    allowed: tuple[str, ...] = ()
    hints: tuple[Text, ...] = ()
    story: Text
