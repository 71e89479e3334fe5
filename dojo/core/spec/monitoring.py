"""How a spec says what is watched, and what is done about it: drift, live performance, freshness, response."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from dojo.core.spec.durations import Duration
from dojo.core.spec.section import Fraction, Name, Section


class Levels(Section):
    """From which value on something is a warning, severe, critical. What the value is, and its unit, is said where they stand."""

    warning: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    severe: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    critical: Annotated[float, Field(gt=0, allow_inf_nan=False)]

    @model_validator(mode="after")
    def _rising(self) -> Levels:
        if not self.warning < self.severe < self.critical:
            raise ValueError(f"must rise: warning {self.warning:g} < severe {self.severe:g} < critical {self.critical:g}")
        return self


class Confirmations(Section):
    """How many of the latest windows must agree before a verdict says so: one window may be an accident."""

    needed: Annotated[int, Field(ge=1, le=24)]
    of: Annotated[int, Field(ge=1, le=24)]

    @model_validator(mode="after")
    def _needed_within_of(self) -> Confirmations:
        if self.needed > self.of:
            raise ValueError(f"needed ({self.needed}) must not exceed of ({self.of})")
        return self


class Skew(Section):
    """Logged feature values against those that an offline point-in-time join gives (D20). `levels`: share of sampled requests that differ."""

    sample: Annotated[int, Field(ge=1, le=100_000)]
    levels: Levels


class PerformanceWatch(Section):
    """Live performance as labels mature. World time.

    Attributes:
        window: Age of the oldest answers that are judged.
        label_delay_ratio: Levels of the median delay of arriving labels, times label.delay.median.
        labels_missing: Levels of the share of a day's due labels that did not arrive.
    """

    window: Duration
    label_delay_ratio: Levels
    labels_missing: Levels


class Drift(Section):
    """When a change of the world, of the data or of the model's answers is told. World time; `thresholds` are PSI.

    A finding is beyond a threshold *and* beyond what chance gives for the rows at hand *and* confirmed in `needed` of `of` windows.

    Attributes:
        significance: probability that any feature of one window exceeds its noise level by chance.
        minimum_rows: per window; fewer are insufficient_data.
        lateness: how long after its end a window takes late events before it is judged; those after it still count, and judge again.
        calendar: features that only the clock decides: their change from hour to hour and day to day is no drift.
        adaptive: features whose thresholds rise with what their windows without a confirmed finding have shown.
        missing: levels of the rise of a view's share of missing values, absolute.
        feature_freshness: levels of a view's age, in its SLAs.
        segment: feature that cuts rows into groups. The gate and the monitor judge each by itself. Empty for none.
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
    """What the responder does about a verdict (D4.5). World time.

    Attributes:
        warning, severe, critical: `notify`: tell the owner. `evaluate`: judge the champion on the freshest labelled data, and retrain when it
            lost more than `degraded`. `roll_back`: to the previous champion when the trouble began within `recent_change` after the
            current version got its traffic, otherwise retrain.
        degraded: relative loss of the primary metric against the version's own holdout, from which on a champion counts as degraded.
        cooldown: no second action (messages apart) for the model within this time after a retraining or a rollback ended. A version
            that got its traffic after that may be taken back all the same.
    """

    warning: Action
    severe: Action
    critical: Action
    degraded: Fraction
    recent_change: Duration
    cooldown: Duration
