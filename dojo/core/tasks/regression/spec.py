"""The fields of a regression model's spec beyond the fields of every spec."""

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
from dojo.core.spec.section import Fraction, Ratio, Section, Text, require_rising

Value = Annotated[float, Field(allow_inf_nan=False)]


class PredictionInterval(Section):
    """How far the truth may lie from an answer. A spec without it has answers of one value.

    Attributes:
        coverage: Share of labels inside.
        scale: How errors grow with the value. `constant` is not at all, `square_root` is like
            counts, `proportional` is like prices.
    """

    coverage: Annotated[float, Field(ge=0.5, le=0.99)]
    scale: Literal["constant", "square_root", "proportional"]


class RegressionLabel(Label):
    """The label of a regression model.

    Attributes:
        unit: Unit of the label and of the answers.
        range: Lowest and highest plausible label.
    """

    unit: Text
    range: tuple[Value, Value]

    @model_validator(mode="after")
    def _range_rises(self) -> RegressionLabel:
        require_rising("range", self.range)
        return self


class RegressionTrainingChecks(TrainingChecks):
    """Checks of a regression model's training set.

    Attributes:
        correlation_ratio: Largest share of the variance of label ranks explained by one feature.
    """

    correlation_ratio: Fraction


class RegressionTraining(Training):
    """Training of a regression model.

    Attributes:
        label_mean: Lowest and highest plausible mean label.
        loss: The error that trees are fitted to reduce. `tweedie` is for labels with a heavy tail.
            It predicts means, and its errors weigh less where the mean is large.
        checks: Checks of the training set.
    """

    label_mean: tuple[Value, Value]
    loss: Literal["absolute", "squared", "tweedie"]
    checks: RegressionTrainingChecks

    @model_validator(mode="after")
    def _means_rise(self) -> RegressionTraining:
        require_rising("label_mean", self.label_mean)
        return self


class RegressionGuards(Guards):
    """The gate's guards of a regression model.

    Attributes:
        bias: Largest absolute rise of the mean error, as a share of the mean label.
        p90_error: Largest relative rise of the 90th percentile of errors.
        coverage: Largest absolute loss of coverage, from the promised one. It counts from the
            champion's where that is lower. Only with `interval`.
        pinball_loss: Largest relative rise of the pinball loss. Only with `interval`.
    """

    bias: Fraction
    p90_error: Fraction
    coverage: Fraction | None = None
    pinball_loss: Fraction | None = None


class RegressionGate(Gate):
    """The gate of a regression model."""

    primary_metric: Literal["mae", "rmse"]
    guards: RegressionGuards


class RegressionChecks(Checks):
    """When a rollout is rolled back.

    Attributes:
        score_psi: PSI between both versions' values on the same traffic.
        large_error_ratio: Share of errors beyond the champion's 90th percentile, as a multiple of a
            tenth.
        outside_ratio: Share of labels outside the interval, as a multiple of the promised one. Only
            with `interval`.
    """

    score_psi: Annotated[float, Field(gt=0, le=10)]
    large_error_ratio: Annotated[Ratio, Field(lt=10)]
    outside_ratio: Ratio | None = None


class RegressionRollout(RolloutPolicy):
    """The rollout of a regression model.

    Attributes:
        minimum_labels: Labelled answers before errors are judged.
        checks: When the rollout is rolled back.
    """

    minimum_labels: Annotated[int, Field(ge=1)]
    checks: RegressionChecks


class RegressionPerformanceWatch(PerformanceWatch):
    """Live performance as labels mature.

    Attributes:
        minimum_labels: Labelled answers before a figure of them is judged.
        mae_ratio: Levels of the mean absolute error as a multiple of the version's own holdout.
        bias: Levels of the shift of the mean error from the holdout's, in mean absolute errors of
            the holdout.
        coverage: Levels of the absolute drop of coverage below the promised one. Only with
            `interval`.
    """

    minimum_labels: Annotated[int, Field(ge=2)]
    mae_ratio: Levels
    bias: Levels
    coverage: Levels | None = None


class RegressionDrift(Drift):
    """Monitoring of a regression model."""

    performance: RegressionPerformanceWatch


class RegressionSpec(ModelSpec):
    """One regression model.

    Attributes:
        interval: How far the truth may lie from an answer. None for answers of one value.
    """

    task: Literal["regression"]
    label: RegressionLabel
    training: RegressionTraining
    gate: RegressionGate
    rollout: RegressionRollout
    drift: RegressionDrift
    interval: PredictionInterval | None = None

    @model_validator(mode="after")
    def _interval_is_watched(self) -> RegressionSpec:
        """Refuse an interval without its limits, and limits that nothing would read."""
        limits = {
            "gate.guards.coverage": self.gate.guards.coverage,
            "gate.guards.pinball_loss": self.gate.guards.pinball_loss,
            "rollout.checks.outside_ratio": self.rollout.checks.outside_ratio,
            "drift.performance.coverage": self.drift.performance.coverage,
        }
        for path, limit in limits.items():
            if self.interval is None and limit is not None:
                raise ValueError(f"{path}: needs the section interval")
            if self.interval is not None and limit is None:
                raise ValueError(f"{path}: is missing, and the section interval needs it")
        ratio = self.rollout.checks.outside_ratio
        if self.interval is not None and ratio is not None:
            every = round(1 / (1 - self.interval.coverage), 9)
            if ratio >= every:
                raise ValueError(
                    f"rollout.checks.outside_ratio: must be below {every:g}, where all labels lie"
                    f" outside, got {ratio:g}"
                )
        return self

    @model_validator(mode="after")
    def _loss_fits_labels(self) -> RegressionSpec:
        low = self.label.range[0]
        if self.training.loss == "tweedie" and low < 0:
            raise ValueError(
                f"training.loss: tweedie needs labels from 0 on, and label.range begins at {low:g}"
            )
        return self
