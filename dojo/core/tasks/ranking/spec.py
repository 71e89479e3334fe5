"""The fields of a ranking model's spec beyond the fields of every spec."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from dojo.core.spec.durations import Duration
from dojo.core.spec.monitoring import Drift, Levels, PerformanceWatch
from dojo.core.spec.schema import (
    Checks,
    Gate,
    Guards,
    Label,
    ModelSpec,
    RolloutPolicy,
    Training,
    TrainingChecks,
)
from dojo.core.spec.section import Fraction, Name, Ratio, Section, require_rising


class CandidateList(Section):
    """Which rows compete.

    Attributes:
        by: Entities shared by the rows of a list. Empty for all rows of a time.
        within: World time span of a list. Lists begin at its multiples.
        top: Number of ranks that count.
        item: Entity that is recommended. None where a list's candidates are no catalogue.
    """

    by: tuple[Name, ...]
    within: Duration
    top: Annotated[int, Field(ge=1, le=100)]
    item: Name | None = None

    @model_validator(mode="after")
    def _a_list_has_several_items(self) -> CandidateList:
        if self.item in self.by:
            raise ValueError(f"item: a list by {self.item} holds one {self.item} alone")
        return self


class RankingLabel(Label):
    """The label of a ranking model.

    Attributes:
        grades: Number of grades of relevance. Labels run from 0 to grades - 1.
        list: Which rows compete.
    """

    grades: Annotated[int, Field(ge=2, le=31)]
    list: CandidateList


class RankingTrainingChecks(TrainingChecks):
    """Checks of a ranking model's training set.

    Attributes:
        correlation_ratio: Largest share of the grades' variance explained by one feature.
    """

    correlation_ratio: Fraction


class RankingTraining(Training):
    """Training of a ranking model.

    Attributes:
        relevant_rate: Lowest and highest plausible share of candidates with a grade above 0.
        checks: Checks of the training set.
    """

    relevant_rate: tuple[Fraction, Fraction]
    checks: RankingTrainingChecks

    @model_validator(mode="after")
    def _rates_rise(self) -> RankingTraining:
        require_rising("relevant_rate", self.relevant_rate)
        return self


class RankingGuards(Guards):
    """The gate's guards of a ranking model.

    Attributes:
        top_recall: Largest relative loss of the flagged share of the best candidates.
        coverage: Largest relative loss of the catalogue's share that is shown. None for no such
            guard. It needs `label.list.item`.
    """

    top_recall: Fraction
    coverage: Fraction | None = None


class RankingGate(Gate):
    """The gate of a ranking model."""

    primary_metric: Literal["ndcg"]
    guards: RankingGuards


class RankingChecks(Checks):
    """When a rollout is rolled back.

    Attributes:
        flagged_ratio: Flagged candidates as a multiple of the champion's, up or down. The shadow
            stage measures it. A canary counts each entity once, and almost every entity is flagged
            sooner or later.
        top_recall_drop: Relative drop below the champion's flagged share of best candidates on the
            gate's holdout. Lists of hundreds have ten top ranks, so this share can be a few
            hundredths. An absolute drop would not work.
    """

    flagged_ratio: Ratio
    top_recall_drop: Fraction


class RankingRollout(RolloutPolicy):
    """The rollout of a ranking model.

    Attributes:
        minimum_labels: Labelled best candidates before their recall is judged.
        checks: When the rollout is rolled back.
    """

    minimum_labels: Annotated[int, Field(ge=1)]
    checks: RankingChecks


class RankingPerformanceWatch(PerformanceWatch):
    """Live performance as labels mature.

    Attributes:
        minimum_lists: Lists with relevant candidates before a figure of them is judged.
        ndcg_drop: Levels of the relative drop below the version's own holdout.
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
    def _lists_are_of_the_models_entities(
        cls, label: RankingLabel, earlier: ValidationInfo
    ) -> RankingLabel:
        # `entities` is absent when the field is wrong itself.
        entities = earlier.data.get("entities")
        for key, named in {"by": label.list.by, "item": (label.list.item,)}.items():
            unknown = {name for name in named if name is not None} - set(entities or named)
            if unknown:
                raise ValueError(
                    f"list.{key}: no {', '.join(sorted(unknown))} among entities"
                    f" ({', '.join(entities or ())})"
                )
        return label

    @field_validator("gate")
    @classmethod
    def _coverage_has_items(cls, gate: RankingGate, earlier: ValidationInfo) -> RankingGate:
        label = earlier.data.get("label")
        if gate.guards.coverage is not None and label is not None and label.list.item is None:
            raise ValueError("guards.coverage: label.list.item names no entity to count")
        return gate
