"""What a spec of a ranking model says beyond every spec."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from dojo.core.spec.durations import Duration
from dojo.core.spec.monitoring import Drift, Levels, PerformanceWatch
from dojo.core.spec.schema import Checks, Gate, Guards, Label, ModelSpec, RolloutPolicy, Training, TrainingChecks
from dojo.core.spec.section import Fraction, Name, Ratio, Section, require_rising


class CandidateList(Section):
    """Which rows compete.

    Attributes:
        by: Entities that the rows of a list share. Empty for all rows of a time.
        within: World time that a list lasts; lists begin at its multiples.
        top: Ranks that count.
    """

    by: tuple[Name, ...]
    within: Duration
    top: Annotated[int, Field(ge=1, le=100)]


class RankingLabel(Label):
    """`grades`: labels are grades of relevance from 0 to one less than this."""

    grades: Annotated[int, Field(ge=2, le=31)]
    list: CandidateList


class RankingTrainingChecks(TrainingChecks):
    """`correlation_ratio`: largest share of the grades' variance that one feature explains."""

    correlation_ratio: Fraction


class RankingTraining(Training):
    """`relevant_rate`: lowest and highest share of candidates with a grade above 0 that is believed."""

    relevant_rate: tuple[Fraction, Fraction]
    checks: RankingTrainingChecks

    @model_validator(mode="after")
    def _rates_rise(self) -> RankingTraining:
        require_rising("relevant_rate", self.relevant_rate)
        return self


class RankingGuards(Guards):
    """`top_recall`: relative loss of the share of the best candidates that are flagged."""

    top_recall: Fraction


class RankingGate(Gate):
    """The gate of a ranking model."""

    primary_metric: Literal["ndcg"]
    guards: RankingGuards


class RankingChecks(Checks):
    """When a rollout is rolled back.

    Attributes:
        flagged_ratio: Flagged candidates, times the champion's, up or down. Found in the shadow stage: a canary counts each entity once,
            and almost every entity is flagged sooner or later.
        top_recall_drop: Relative, below the share of best candidates that the champion flagged of the gate's holdout. Not absolute: lists
            of hundreds have ten top ranks, so that share can be a few hundredths.
    """

    flagged_ratio: Ratio
    top_recall_drop: Fraction


class RankingRollout(RolloutPolicy):
    """`minimum_labels`: labelled best candidates before their recall is judged."""

    minimum_labels: Annotated[int, Field(ge=1)]
    checks: RankingChecks


class RankingPerformanceWatch(PerformanceWatch):
    """Live performance as labels mature.

    Attributes:
        minimum_lists: Lists with something relevant before a figure of them is judged.
        ndcg_drop: Levels, relative, below the version's own holdout.
    """

    minimum_lists: Annotated[int, Field(ge=2)]
    ndcg_drop: Levels


class RankingDrift(Drift):
    """Monitoring of a ranking model."""

    performance: RankingPerformanceWatch


class RankingSpec(ModelSpec):
    """One ranking model."""

    task: Literal["ranking"]
    label: RankingLabel
    training: RankingTraining
    gate: RankingGate
    rollout: RankingRollout
    drift: RankingDrift

    @field_validator("label")
    @classmethod
    def _lists_are_of_the_models_entities(cls, label: RankingLabel, earlier: ValidationInfo) -> RankingLabel:
        entities = earlier.data.get("entities")  # absent where they are wrong themselves
        if entities is not None and (unknown := set(label.list.by) - set(entities)):
            raise ValueError(f"list.by: no {', '.join(sorted(unknown))} among entities ({', '.join(entities)})")
        return label
