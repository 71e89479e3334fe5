"""The watch over a model in its spec: drift, live performance, freshness and the response."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from dojo.core.spec.durations import Duration
from dojo.core.spec.section import Fraction, Name, Section


class Levels(Section):
    """The values at which something becomes a warning, severe or critical.

    Each field of this type states the value and its unit.
    """

    warning: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    severe: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    critical: Annotated[float, Field(gt=0, allow_inf_nan=False)]

    @model_validator(mode="after")
    def _rising(self) -> Levels:
        if not self.warning < self.severe < self.critical:
            raise ValueError(
                f"must rise: warning {self.warning:g} < severe {self.severe:g} < critical"
                f" {self.critical:g}"
            )
        return self


class Confirmations(Section):
    """How many of the latest windows must agree before a verdict reports a finding.

    One window may be an accident.
    """

    needed: Annotated[int, Field(ge=1, le=24)]
    of: Annotated[int, Field(ge=1, le=24)]

    @model_validator(mode="after")
    def _needed_within_of(self) -> Confirmations:
        if self.needed > self.of:
            raise ValueError(f"needed ({self.needed}) must not exceed of ({self.of})")
        return self


class Skew(Section):
    """Logged feature values against the values of an offline point-in-time join (D20).

    Attributes:
        sample: Number of requests to compare.
        levels: Levels of the share of sampled requests that differ.
    """

    sample: Annotated[int, Field(ge=1, le=100_000)]
    levels: Levels


class PerformanceWatch(Section):
    """Live performance as labels mature. Times are world time.

    Attributes:
        window: Age of the oldest judged answers.
        label_delay_ratio: Levels of the median delay of arriving labels, as a multiple of
            label.delay.median.
        labels_missing: Levels of the share of a day's due labels that did not arrive.
    """

    window: Duration
    label_delay_ratio: Levels
    labels_missing: Levels


class Drift(Section):
    """When a change of the world, of the data or of the model's answers is reported. World time.

    A finding is beyond a threshold *and* beyond chance for its number of rows. It is *also*
    confirmed in `needed` of `of` windows.

    Attributes:
        thresholds: Levels of PSI.
        significance: Probability that any feature of one window exceeds its noise level by chance.
        minimum_rows: Least rows of a window. Fewer are insufficient_data.
        hourly: Confirmations among hours.
        daily: Confirmations among days.
        lateness: Time after its end for which a window waits for late events before it is judged.
            Later events still count, and the window is then judged again.
        calendar: Features decided by the clock alone. Their change between hours and days is no
            drift.
        adaptive: Features with thresholds that rise with the values of windows without a confirmed
            finding.
        missing: Levels of the absolute rise of a view's share of missing values.
        feature_freshness: Levels of a view's age, in multiples of its SLA.
        segment: Feature that cuts rows into groups. The gate and the monitor judge each group by
            itself. Empty for none.
        skew: Served against offline feature values.
        performance: Live performance as labels mature.
        champion_age: Levels of the age of the champion's training data, days.
    """

    thresholds: Levels
    significance: Annotated[float, Field(gt=0, lt=0.5)]
    minimum_rows: Annotated[int, Field(ge=1)]
    hourly: Confirmations
    daily: Confirmations
    lateness: Duration
    calendar: tuple[Name, ...]
    adaptive: tuple[Name, ...]
    missing: Levels
    feature_freshness: Levels
    segment: str
    skew: Skew
    performance: PerformanceWatch
    champion_age: Levels


Action = Literal["notify", "evaluate", "roll_back"]


class Response(Section):
    """What the responder does about a verdict (D4.5). Times are world time.

    There are three actions. `notify` tells the owner. `evaluate` judges the champion on the
    freshest labelled data, and retrains when it lost more than `degraded`. `roll_back` returns to
    the previous champion, when the trouble began within `recent_change` after the current version
    got its traffic. Otherwise it retrains.

    Attributes:
        warning: Action on a warning.
        severe: Action on a severe verdict.
        critical: Action on a critical verdict.
        degraded: Relative loss of the primary metric against the version's own holdout. From here
            on a champion counts as degraded.
        recent_change: Longest time from a change of version to a trouble that `roll_back` blames on
            it.
        cooldown: Time after a retraining or a rollback ended, without a second action for the model
            except messages. A version that got its traffic after that end may still be rolled back.
    """

    warning: Action
    severe: Action
    critical: Action
    degraded: Fraction
    recent_change: Duration
    cooldown: Duration
