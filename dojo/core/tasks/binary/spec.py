"""What a spec of a binary model says beyond every spec."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from dojo.core.spec.monitoring import Drift, Levels, PerformanceWatch
from dojo.core.spec.schema import Checks, Gate, Guards, Label, ModelSpec, RolloutPolicy, Serving, Training, TrainingChecks
from dojo.core.spec.section import Fraction, Ratio, Text, require_rising


class BinaryLabel(Label):
    """`positive_class`: what label 1 is called on the model card."""

    positive_class: Text


class BinaryTrainingChecks(TrainingChecks):
    """`information_value`: largest PSI of a feature between its positive and its negative examples."""

    information_value: Annotated[float, Field(gt=0, le=100)]


class BinaryTraining(Training):
    """`label_rate`: lowest and highest share of positives that is believed."""

    label_rate: tuple[Fraction, Fraction]
    checks: BinaryTrainingChecks

    @model_validator(mode="after")
    def _rates_rise(self) -> BinaryTraining:
        require_rising("label_rate", self.label_rate)
        return self


class BinaryGuards(Guards):
    """`calibration` is an absolute rise, the others are relative losses."""

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
        decline_ratio: Flagged answers, times the champion's, up or down.
        score_psi: PSI between both versions' scores on the same traffic.
        catch_rate_drop: Absolute, below what the champion caught of the gate's holdout.
        false_positive_ratio: Times serving.threshold_false_positive_rate.
    """

    decline_ratio: Ratio
    score_psi: Annotated[float, Field(gt=0, le=10)]
    catch_rate_drop: Fraction
    false_positive_ratio: Ratio


class BinaryRollout(RolloutPolicy):
    """`minimum_positives`: labelled positives before a catch rate is judged."""

    minimum_positives: Annotated[int, Field(ge=1)]
    checks: BinaryChecks


class BinaryPerformanceWatch(PerformanceWatch):
    """Live performance as labels mature.

    Attributes:
        minimum_positives: Labelled positives before a figure of them is judged.
        catch_rate_drop: Levels, absolute, below what the version showed on its own holdout.
        false_positive_ratio: Levels, times serving.threshold_false_positive_rate.
        pr_auc_drop: Levels, relative, below the version's own holdout.
        flagged_ratio: Levels, flagged answers against the holdout's share, up or down.
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
    """`threshold_false_positive_rate`: an answer is flagged above the score that this share of negatives exceeds."""

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
