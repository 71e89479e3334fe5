"""One drill's file, `drills/<area>/<id>.yaml`. Unknown keys and words are refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from dojo.core.spec.durations import Duration
from dojo.core.spec.section import Section, Text
from dojo.drills.faults.table import Fault
from dojo.drills.taxonomy import COMPONENTS, IMPACTS, MECHANISMS, TEAMS, TRIGGERS

Slug = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$", max_length=40)]

ProbeName = Literal[
    "lake_behind_seconds", "features_behind_days", "changed_alarm",
    "role_without_traffic",
    "store_refuses_connections", "store_refuses_writes", "store_milliseconds", "store_evictions",
    "store_free_megabytes", "wrong_nights", "wrong_ratios",
    "registry_refuses_writes", "store_answers", "gateway_deaths",
]  # fmt: skip

# What a stack must have beyond Prometheus (dojo/drills/running/needs.py).
Need = Literal["airflow", "two_versions"]


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
Team = Annotated[str, _word(TEAMS)]


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


class Bound(Section):
    """A bound on one measurement.

    Attributes:
        probe: The measured quantity (dojo/drills/running/probes.py).
        query: Instead of a probe, PromQL with one value over counters of callers or of the world.
        at_least: The value must not be lower.
        at_most: The value must not be higher.
    """

    probe: ProbeName | None = None
    query: str = ""
    at_least: float | None = None
    at_most: float | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Bound:
        if (self.probe is None) == (not self.query):
            raise ValueError("give a probe or a query")
        if self.at_least is None and self.at_most is None:
            raise ValueError("give at_least or at_most")
        return self

    @property
    def measured(self) -> str:
        """What is measured, for people."""
        return self.probe or " ".join(self.query.split())

    def holds(self, value: float | None) -> bool:
        """Return whether a value is within the bounds. No value never is."""
        if value is None:
            return False
        low = self.at_least is None or value >= self.at_least
        return low and (self.at_most is None or value <= self.at_most)


class Condition(Section):
    """Bounds that must hold together, over a stretch of wall time.

    Attributes:
        lasting: They must hold for so long without a break.
        within: They must begin to hold so soon, or are given up.
    """

    bounds: Annotated[tuple[Bound, ...], Field(min_length=1)]
    lasting: Duration
    within: Duration

    def holds(self, values: Sequence[float | None]) -> bool:
        """Return whether all bounds hold. `values` has one for each."""
        return len(values) == len(self.bounds) and all(
            bound.holds(value) for bound, value in zip(self.bounds, values, strict=True)
        )


class AwaitedPage(Section):
    """How the person hears of it.

    Attributes:
        alerts: One of these must come.
        within: So soon after the witness.
    """

    alerts: Annotated[tuple[Text, ...], Field(min_length=1)]
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


class Owner(Section):
    """Who outside the platform can end it, once told what is wrong and since when.

    They end the first of the drill's faults.

    Attributes:
        team: The owner.
        since_within: How far, in world time, the told beginning may be from the true one.
    """

    team: Team
    since_within: Duration


class TellingCommands(Section):
    """Commands that show something, as beginnings of a `dojo` call, such as `drift show`.

    Commands of a traced shell begin with `$`.

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
        needs: What the stack must have.
        faults: What is injected (dojo/drills/faults), in this order.
        witness: An independent measurement that sees data or callers hurt.
        owner: Who can end it, where no command of the platform can.
        outcome: What a mitigation must reach.
        replay: The process that is restarted at the end. The outcome must survive it. "" is none.
        may_stay: Kinds of its faults that harm nothing once the outcome holds.
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
    needs: tuple[Need, ...] = ()
    faults: Annotated[tuple[Fault, ...], Field(min_length=1)]
    witness: Condition
    page: AwaitedPage
    owner: Owner | None = None
    answer: RightAnswer
    evidence: TellingCommands
    outcome: Condition
    replay: str = ""
    may_stay: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    hints: tuple[Text, ...] = ()
    story: Text
