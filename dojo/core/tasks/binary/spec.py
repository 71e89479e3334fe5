"""The fields of a binary model's spec beyond the fields of every spec."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

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
from dojo.core.spec.section import Fraction, Ratio, Text, require_rising
from dojo.core.spec.serving import Serving


class BinaryLabel(Label):
    """The label of a binary model.

    Attributes:
        positive_class: Name of label 1 on the model card.
    """

    positive_class: Text


class BinaryTrainingChecks(TrainingChecks):
    """Checks of a binary training set.

    Attributes:
        information_value: Largest PSI of a feature between its positive and its negative examples.
    """

    information_value: Annotated[float, Field(gt=0, le=100)]


class BinaryTraining(Training):
    """Training of a binary model.

    Attributes:
        label_rate: Lowest and highest plausible share of positives.
        checks: Checks of the training set.
    """

    label_rate: tuple[Fraction, Fraction]
    checks: BinaryTrainingChecks

    @model_validator(mode="after")
    def _rates_rise(self) -> BinaryTraining:
        require_rising("label_rate", self.label_rate)
        return self


class BinaryGuards(Guards):
    """The gate's guards of a binary model.

    Attributes:
        precision_at_1pct_fpr: Largest relative loss, a fraction.
        recall_at_50pct_precision: Largest relative loss, a fraction.
        calibration: Largest absolute rise of the expected calibration error.
    """

    precision_at_1pct_fpr: Fraction
    recall_at_50pct_precision: Fraction
    calibration: Fraction


class BinaryGate(Gate):
    """The gate of a binary model."""

    primary_metric: Literal["pr_auc", "roc_auc"]
    guards: BinaryGuards


class BinaryChecks(Checks):
    """When a rollout is rolled back.

    Attributes:
        decline_ratio: Flagged answers as a multiple of the champion's, up or down.
        score_psi: PSI between both versions' scores on the same traffic.
        catch_rate_drop: Absolute drop below the champion's catch rate on the gate's holdout.
        false_positive_ratio: Multiple of serving.threshold_false_positive_rate.
    """

    decline_ratio: Ratio
    score_psi: Annotated[float, Field(gt=0, le=10)]
    catch_rate_drop: Fraction
    false_positive_ratio: Ratio


class BinaryRollout(RolloutPolicy):
    """The rollout of a binary model.

    Attributes:
        minimum_positives: Labelled positives before a catch rate is judged.
        checks: When the rollout is rolled back.
    """

    minimum_positives: Annotated[int, Field(ge=1)]
    checks: BinaryChecks


class BinaryPerformanceWatch(PerformanceWatch):
    """Live performance as labels mature.

    Attributes:
        minimum_positives: Labelled positives before a figure of them is judged.
        catch_rate_drop: Levels of the absolute drop below the version's own holdout.
        false_positive_ratio: Levels as multiples of serving.threshold_false_positive_rate.
        pr_auc_drop: Levels of the relative drop below the version's own holdout.
        flagged_ratio: Levels of flagged answers against the holdout's share, up or down.
    """

    minimum_positives: Annotated[int, Field(ge=1)]
    catch_rate_drop: Levels
    false_positive_ratio: Levels
    pr_auc_drop: Levels
    flagged_ratio: Levels


class BinaryDrift(Drift):
    """Monitoring of a binary model."""

    performance: BinaryPerformanceWatch


class BinaryServing(Serving):
    """Serving of a binary model.

    Attributes:
        threshold_false_positive_rate: Share of negatives above the threshold. An answer is flagged
            from the threshold on.
        fallback_score: Score of an answer when no version can score.
    """

    threshold_false_positive_rate: Annotated[float, Field(gt=0, lt=1)]
    fallback_score: Fraction


class BinarySpec(ModelSpec):
    """One binary model."""

    task: Literal["binary"]
    label: BinaryLabel
    training: BinaryTraining
    gate: BinaryGate
    rollout: BinaryRollout
    drift: BinaryDrift
    serving: BinaryServing
