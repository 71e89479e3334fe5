"""The parts of a model spec common to all tasks, as pydantic models.

They are frozen and refuse unknown keys, and every duration has its unit. `dojo/core/tasks` adds the
fields of single tasks and reads the files.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from dojo.core.spec.bandit import BanditLimits
from dojo.core.spec.durations import Duration, format_duration
from dojo.core.spec.monitoring import Drift, Response
from dojo.core.spec.regulated import Regulated
from dojo.core.spec.section import Fraction, Name, Rate, Ratio, Section, Text
from dojo.core.spec.serving import CacheRules, Serving


class LabelDelay(Section):
    """Time from the event to the arrival of its label, lognormal and cut off at `maximum`."""

    distribution: Literal["lognormal"]
    median: Duration
    sigma: Annotated[float, Field(gt=0, le=3)]  # of the delay's logarithm, dimensionless
    maximum: Duration

    @model_validator(mode="after")
    def _median_within_maximum(self) -> LabelDelay:
        if not timedelta(0) < self.median < self.maximum:
            raise ValueError(
                f"median must be positive and below maximum ({format_duration(self.maximum)}), got"
                f" {format_duration(self.median)}"
            )
        return self


class Label(Section):
    """The prediction target.

    Attributes:
        event: str of the labelled events. Each event is one example, and its id joins it to its
            label.
        truth: The label's statement about the event, as a name from dojo/shop/truths.py.
        delay: Time from the event to its label.
    """

    event: Name
    truth: Name
    delay: LabelDelay


# LightGBM's parameters for specs, with their sensible values (both ends included). The list is
# closed, because LightGBM itself accepts a misspelt parameter silently.
ESTIMATOR_BOUNDS: dict[str, tuple[float, float]] = {
    "n_estimators": (1, 10_000),
    "learning_rate": (1e-4, 1),
    "num_leaves": (2, 4096),
    "max_depth": (-1, 64),
    "min_child_samples": (1, 1_000_000),
    "max_bin": (2, 65_535),
    "subsample": (0.01, 1),
    "subsample_freq": (0, 1_000),
    "colsample_bytree": (0.01, 1),
    "reg_alpha": (0, 1e6),
    "reg_lambda": (0, 1e6),
}


class Estimator(Section):
    kind: Literal["lightgbm"]
    parameters: dict[str, int | float]
    early_stopping_rounds: Annotated[int, Field(ge=1)]

    @field_validator("parameters", mode="before")
    @classmethod
    def _parameters_make_sense(cls, parameters: object) -> object:
        """Return one fault per parameter.

        A union of types would name each type that does not fit.
        """
        if isinstance(parameters, dict):
            for name, value in parameters.items():
                if name not in ESTIMATOR_BOUNDS:
                    raise ValueError(
                        f"{name}: unknown; LightGBM's parameters here are"
                        f" {', '.join(ESTIMATOR_BOUNDS)}"
                    )
                low, high = ESTIMATOR_BOUNDS[name]
                if (
                    isinstance(value, bool)
                    or not isinstance(value, (int, float))
                    or not low <= value <= high
                ):
                    raise ValueError(
                        f"{name}: expected a number from {low:g} to {high:g}, got {value!r}"
                    )
        return parameters


class TrainingChecks(Section):
    """Checks of a training set before anything is learned from it. A failed check refuses the set.

    Attributes:
        staleness: Largest age of the newest event, world time.
        unlabelled: Largest share of examples without a label.
        missing: Largest absolute rise of a view's share of examples without values, above the
            champion's holdout.
        feature_psi: Largest PSI of a feature against the champion's holdout, except for counts.
        count_psi: Largest PSI of a feature that counts events.
    """

    staleness: Duration
    unlabelled: Fraction
    missing: Fraction
    feature_psi: Annotated[float, Field(gt=0, le=100)]
    count_psi: Annotated[float, Field(gt=0, le=100)]


class Smaller(Section):
    """Smaller versions of the champion (pipelines/training/smaller.py).

    Losses are of the gate's primary metric, relative to the champion's.

    Attributes:
        pruning_loss: Largest loss on the validation rows. Pruning keeps the fewest trees within it.
        allowed_loss: Largest loss in the gate, where the whole interval must be below it.
        trees: Trees of a distilled version.
        leaves: Leaves of each of these trees.
        learning_rate: Share of each tree that counts, of a distilled version.
    """

    pruning_loss: Fraction
    allowed_loss: Fraction
    trees: Annotated[int, Field(ge=1, le=1000)]
    leaves: Annotated[int, Field(ge=2, le=256)]
    learning_rate: Annotated[float, Field(gt=0, le=1)]


class Training(Section):
    """A version's training data.

    `window` ends `label.delay.maximum` before "now" and includes validation and holdout.
    """

    window: Duration
    validation: Duration
    holdout: Duration
    schedule: Duration
    minimum_rows: Annotated[int, Field(ge=1)]
    checks: TrainingChecks
    seed: Annotated[int, Field(ge=0)]
    estimator: Estimator
    smaller: Smaller | None = None

    @model_validator(mode="after")
    def _parts_fit(self) -> Training:
        if self.validation + self.holdout >= self.window:
            raise ValueError(
                "validation + holdout must be shorter than window, or nothing is left to train on"
            )
        return self


class Guards(Section):
    """The limits on costs of a challenger that wins on the primary metric.

    Each exceeded limit is a veto (dojo/core/judging/gate/guards.py).
    """

    worst_segment: Fraction
    latency: Ratio
    size: Ratio


class Gate(Section):
    """Champion against challenger on one holdout.

    Gains and losses are relative to the champion's value.
    """

    primary_metric: str
    minimum_gain: Fraction
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    bootstrap_draws: Annotated[int, Field(ge=100, le=100_000)]
    guards: Guards


class Checks(Section):
    """When a rollout is rolled back.

    Each `*_ratio` limits the challenger's rate, as a multiple of the champion's on the same
    traffic.

    `false_alarm` is the probability that a sequential check stops a challenger as good as the
    limits allow. It covers the whole rollout and any number of looks. The checks share it as
    described in dojo/core/judging/rollout/limits.py.

    A floor is a rate allowed at any rate of the champion. `error_floor` and `slow_floor` hold in
    shadow and canary, `watch_error_floor` and `watch_slow_floor` in the watch.
    """

    false_alarm: Annotated[float, Field(gt=0, le=0.1)]
    error_ratio: Ratio
    degraded_ratio: Ratio
    slow_ratio: Ratio
    error_floor: Rate
    slow_floor: Rate
    watch_error_floor: Rate
    watch_slow_floor: Rate


Objective = Literal["availability", "latency"]


class RolloutPolicy(Section):
    """A challenger's way: shadow, canary, then all traffic under watch. Times are world time.

    `minimum_requests` counts the challenger's own requests, per stage. `error_budget` names the
    objectives of `serving` whose spent budget stops the model's rollouts. They get no more traffic
    until it is back, or until a person overrules it. See dojo/core/state/error_budget.py.
    """

    approval: Literal["none", "required"]
    shadow_time: Duration
    canary_weight: Annotated[float, Field(gt=0, le=0.5)]
    canary_time: Duration
    watch_time: Duration
    minimum_requests: Annotated[int, Field(ge=1)]
    error_budget: tuple[Objective, ...]
    checks: Checks


class Batch(Section):
    """The nightly scoring of a whole world day. A spec without it has no such night.

    Attributes:
        after: World time from a day's end until the day is scored.
        keep_online: World time from a request for which its score counts in the online store.
    """

    after: Duration
    keep_online: Duration

    @model_validator(mode="after")
    def _scores_outlive_the_night(self) -> Batch:
        if not timedelta(0) <= self.after < timedelta(days=1):
            raise ValueError(
                f"after must be shorter than a day, got {format_duration(self.after)}: the next day"
                " ends by then"
            )
        if self.keep_online <= (needed := timedelta(days=1) + self.after):
            raise ValueError(
                f"keep_online must be longer than a day and after ({format_duration(needed)}), or"
                " a morning's score is gone before it is written"
            )
        return self


class DataGovernance(Section):
    """The model's rules for stored data.

    Attributes:
        retention: World time for which the lake keeps events. All models share the lake, so the
            longest retention holds.
    """

    retention: Duration


class ModelSpec(Section):
    """One model. See models/fraud_detection.yaml for a commented example.

    `task` decides the subclass (dojo/core/tasks).

    Attributes:
        optional: True for a model that runs only where DOJO_MODELS names it.
        regulated: The rules of a model that decides about people. None for others.
    """

    name: Name
    description: Text
    owner: Text
    optional: bool = False
    task: str
    entities: Annotated[tuple[Name, ...], Field(min_length=1)]
    feature_service: Name
    label: Label
    training: Training
    gate: Gate
    rollout: RolloutPolicy
    drift: Drift
    response: Response
    serving: Serving
    data: DataGovernance
    batch: Batch | None = None
    result_cache: CacheRules | None = None
    regulated: Regulated | None = None
    bandit: BanditLimits | None = None

    @field_validator("bandit")
    @classmethod
    def _answers_are_flagged(
        cls, bandit: BanditLimits | None, info: ValidationInfo
    ) -> BanditLimits | None:
        if bandit is not None and info.data.get("task", "binary") != "binary":
            raise ValueError("only a binary model flags answers that earn a reward")
        return bandit

    @model_validator(mode="after")
    def _parts_fit_together(self) -> ModelSpec:
        if self.data.retention < (needed := self.training.window + self.label.delay.maximum):
            raise ValueError(
                f"data.retention ({format_duration(self.data.retention)}) must not be shorter than"
                f" training.window and label.delay.maximum together ({format_duration(needed)}), or"
                " no window is ever full"
            )
        if self.regulated is not None and self.rollout.approval != "required":
            raise ValueError("rollout.approval must be required, because the model is regulated")
        if self.regulated is not None and self.task != "binary":
            raise ValueError(f"regulated is for tasks that flag answers, and {self.task} does not")
        if len(set(self.entities)) < len(self.entities):
            raise ValueError(f"entities must differ, got {list(self.entities)}")
        return self
