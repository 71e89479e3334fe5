"""Arguments and results of a `Task`: rows, answers and findings about them.

Arrays have shape (rows,) unless they say otherwise. A *score* is the one number that a version
gives
a row. Its unit depends on the task: a probability, a value or a relevance. A version serves by its
*decision*, fixed on its validation rows, as values by name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]] | npt.NDArray[np.integer[Any]]
Codes = npt.NDArray[np.integer[Any]]
Decision = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Answered:
    """Rows with their labels and one version's scores.

    Attributes:
        labels: The truth of each row.
        scores: The version's score of each row.
        flagged: True for answers that asked for an action. None where the task flags nothing.
        entities: Entity -> key of each row, as text or number. Rows of one entity resemble each
            other.
        times: UTC, datetime64. Empty where the task makes no lists.
        weights: Weight of each label, >= 1. None where all are 1. A label may stand for like
            requests without one (`Task.stands_for`), or be corrected for the rank that was shown.
        decision: The decision of the version that answered. Empty where it is unknown, or where
            several versions answered.
    """

    labels: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]
    flagged: npt.NDArray[np.bool_] | None = None
    entities: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    times: npt.NDArray[np.datetime64] = field(
        default_factory=lambda: np.empty(0, dtype="datetime64[us]")
    )
    weights: npt.NDArray[np.float64] | None = None
    decision: Decision = field(default_factory=dict)

    @property
    def each(self) -> npt.NDArray[np.float64]:
        """Return the weight of each row, shape (rows,)."""
        return np.ones(len(self.labels)) if self.weights is None else self.weights

    def of(self, rows: npt.NDArray[Any]) -> Answered:
        """Return some of the rows, by number or by mask."""
        return Answered(
            self.labels[rows],
            self.scores[rows],
            None if self.flagged is None else self.flagged[rows],
            {entity: keys[rows] for entity, keys in self.entities.items()},
            self.times[rows] if len(self.times) else self.times,
            None if self.weights is None else self.weights[rows],
            self.decision,
        )

    def scored(
        self,
        scores: npt.NDArray[np.float64],
        flagged: npt.NDArray[np.bool_] | None,
        decision: Decision | None = None,
    ) -> Answered:
        """Return the same rows as another version answers them. None is an unknown decision."""
        return replace(self, scores=scores, flagged=flagged, decision=decision or {})


@dataclass(frozen=True, slots=True)
class Targets:
    """What LightGBM fits.

    Attributes:
        labels: Target of each row.
        weights: LightGBM's weight of each row. None where all are 1.
        parameters: LightGBM's parameters that follow from the labels.
    """

    labels: npt.NDArray[np.float64]
    weights: npt.NDArray[np.float64] | None
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LabelValues:
    """The allowed values of a label.

    Attributes:
        allowed: The allowed values. Empty for any number from `low` to `high`.
        low: Smallest allowed number.
        high: Largest allowed number.
    """

    allowed: tuple[float, ...] = ()
    low: float = -np.inf
    high: float = np.inf


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure of a version on its holdout.

    Attributes:
        title: Its name in tables.
        short: Its name in sentences.
        lower_is_better: True if a fall is a gain.
    """

    title: str
    short: str = ""
    lower_is_better: bool = False


@dataclass(frozen=True, slots=True)
class GuardRule:
    """A metric that a challenger must not lose.

    Attributes:
        name: Name of the limit in the spec's gate.guards.
        metric: Name of the metric.
        measures: The measured quantity, in words.
        change: The kind of change that `limit` bounds.
        limit: Largest allowed change.
        promised: A loss counts from this value, or from the champion's where that is lower. None
            where a loss counts from the champion's value.
    """

    name: str
    metric: str
    measures: str
    change: Literal["relative loss", "absolute loss", "absolute rise", "relative rise"]
    limit: float
    promised: float | None = None


@dataclass(frozen=True, slots=True)
class Leak:
    """How much one feature knows about the label.

    Attributes:
        key: Name of the limit in the spec's training.checks.
        measure: The kind of `value`, in words.
        value: The measured value.
        limit: Largest allowed value.
    """

    key: str
    measure: str
    value: float
    limit: float


@dataclass(frozen=True, slots=True)
class Loss:
    """A champion on fresh rows against its own holdout.

    Attributes:
        promised: The primary metric on the holdout.
        measured: The primary metric on the fresh rows.
        comparable: `measured`, corrected to the holdout's mix of labels.
        value: Relative loss of `comparable` against `promised`. Below 0 is a gain.
        low: Lower end of the interval of `value`.
        high: Upper end of the interval of `value`.
    """

    promised: float
    measured: float
    comparable: float
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Curve:
    """A picture of one version's answers on its holdout. It is drawn beside another version's.

    Attributes:
        name: Name of its file.
        title: Title of the picture.
        x_label: Label of the x axis.
        y_label: Label of the y axis.
        label: Label of the line.
        x: X of each point, rising.
        y: Y of each point.
        step: True if y jumps at each x.
        error: Half of the interval of each y. None draws none.
        log: True if both axes are logarithmic.
        shares: True if both axes are shares, drawn from 0 to 1.
        reference: Name and points of a line without any skill.
        mark: Name and point of a highlighted point.
    """

    name: str
    title: str
    x_label: str
    y_label: str
    label: str
    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    step: bool = False
    error: npt.NDArray[np.float64] | None = None
    log: bool = False
    shares: bool = False
    reference: tuple[str, tuple[float, float], tuple[float, float]] | None = None
    mark: tuple[str, float, float] | None = None


class Figure(msgspec.Struct, frozen=True):
    """One figure of labelled answers.

    Attributes:
        value: The figure. None with too few rows.
        rows: Rows behind it.
        effective: Number of independent rows giving the same precision.
        spread: Standard deviation of one row's contribution, in the unit of `value`. 0 for a share,
            because its value determines the deviation.
    """

    value: float | None
    rows: int
    effective: float
    spread: float = 0.0

    @property
    def error(self) -> float:
        """Standard error, in the unit of `value`. 0 for a share."""
        return self.spread / math.sqrt(max(self.effective, 1.0))


class Results(msgspec.Struct, frozen=True):
    """The results of labelled answers.

    Attributes:
        rows: Number of labelled answers.
        figures: Figures by name.
    """

    rows: int
    figures: dict[str, Figure]


class HoldoutVariation(msgspec.Struct, frozen=True):
    """A figure of the holdout and its variation between days.

    Attributes:
        mean: Value over all rows of the holdout.
        std: Standard deviation of the daily values. It includes sampling noise.
        days: Number of days in the holdout.
    """

    mean: float
    std: float
    days: int


@dataclass(frozen=True, slots=True)
class AnswerCounts:
    """Counts of answers without their labels.

    Attributes:
        rows: Number of answers.
        flagged: Number of flagged answers.
        score_counts: Answers per bin of `SCORE_EDGES` (dojo/core/tasks/score_bins.py).
        score_sums: Sum of scores per bin.
    """

    rows: int
    flagged: int
    score_counts: npt.NDArray[np.int64]
    score_sums: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Proxies:
    """The holdout's figures that need no labels, for one version.

    Attributes:
        rows: Rows of the holdout.
        figures: Name -> the holdout's value and its variation between days.
        calibration: Rate of positives by bin of scores. Empty where the task has none.
    """

    rows: int
    figures: Mapping[str, HoldoutVariation]
    calibration: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelTest:
    """A sequential test of a rollout's watch. Each label to which it applies is one trial.

    Attributes:
        name: Name of the test.
        measures: The tested share, in words.
        limit: Largest allowed share. None without a value to compare with, as `note` explains.
        needed: Trials before the test may be ok.
        note: Explanation for people.
        counts_flags: True if a flagged answer is the bad event. False if an answer without a flag
            is, or if the task flags nothing.
        selective: True if a label's weight says that flagged answers are acted on.
    """

    name: str
    measures: str
    limit: float | None
    needed: int
    note: str = ""
    counts_flags: bool = False
    selective: bool = False


@dataclass(frozen=True, slots=True)
class Quantity:
    """A quantity that compares two arms of an experiment.

    It is a sum over another sum, each over all requests of an arm.

    Attributes:
        name: Name of the quantity.
        above: Each request's part of the numerator.
        below: Each request's part of the denominator.
        counts: True if the request counts towards `needed`.
        needed: Counted requests in each arm before the quantity is measured.
        of: Name of the counted requests, in the plural.
        share: True for a share of trials that hit. False for a ratio of sums.
    """

    name: str
    above: npt.NDArray[np.float64]
    below: npt.NDArray[np.float64]
    counts: npt.NDArray[np.bool_]
    needed: int
    of: str
    share: bool = True


@dataclass(frozen=True, slots=True)
class AnswerColumn:
    """One value of an answer.

    Attributes:
        name: Name of the value.
        kind: Its type, with its bounds and description.
        datatype: Its type in the Open Inference Protocol.
        example: Example for the documentation.
    """

    name: str
    kind: Any
    datatype: Literal["FP64", "BOOL", "INT64"]
    example: float | int | bool


class AnswerValues(NamedTuple):
    """A task's answer to one instance's score.

    Attributes:
        values: Values of the task's columns, in their order.
        flagged: True if the answer asks for an action. None where the task flags nothing.
    """

    values: tuple[Any, ...]
    flagged: bool | None
