"""What a `Task` takes and gives: rows and answers, and what is found out about them.

Shapes: arrays have shape (rows,) unless they say otherwise. A *score* is the one number that a version gives a row, in the unit of
its task: a probability, a value, a relevance. A *decision* is what a version fixed on its validation rows and serves by, by name.
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
        flagged: Answers that asked for an action. None where the task flags nothing.
        entities: Entity -> key of each row, as text or number. Rows of one entity resemble each other.
        times: UTC, datetime64. Empty where the task makes no lists.
    """

    labels: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]
    flagged: npt.NDArray[np.bool_] | None = None
    entities: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    times: npt.NDArray[np.datetime64] = field(default_factory=lambda: np.empty(0, dtype="datetime64[us]"))

    def of(self, rows: npt.NDArray[Any]) -> Answered:
        """Some of the rows, by number or by mask."""
        return Answered(
            self.labels[rows],
            self.scores[rows],
            None if self.flagged is None else self.flagged[rows],
            {entity: keys[rows] for entity, keys in self.entities.items()},
            self.times[rows] if len(self.times) else self.times,
        )

    def scored(self, scores: npt.NDArray[np.float64], flagged: npt.NDArray[np.bool_] | None) -> Answered:
        """The same rows as another version answers them."""
        return replace(self, scores=scores, flagged=flagged)


@dataclass(frozen=True, slots=True)
class LabelValues:
    """What a label may be: one of `allowed`, or where that is empty a number from `low` to `high`."""

    allowed: tuple[float, ...] = ()
    low: float = -np.inf
    high: float = np.inf


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure of a version on its holdout.

    Attributes:
        title: As tables say it.
        short: As sentences say it.
        lower_is_better: Whether a fall is a gain.
    """

    title: str
    short: str = ""
    lower_is_better: bool = False


@dataclass(frozen=True, slots=True)
class GuardRule:
    """A metric that a challenger may not lose.

    Attributes:
        name: Of the limit in the spec's gate.guards.
        change: What `limit` bounds.
    """

    name: str
    metric: str
    measures: str
    change: Literal["relative loss", "absolute rise", "relative rise"]
    limit: float


@dataclass(frozen=True, slots=True)
class Leak:
    """How much one feature knows about the label.

    Attributes:
        key: Of the limit in the spec's training.checks.
        measure: What `value` is, for people.
    """

    key: str
    measure: str
    value: float
    limit: float


@dataclass(frozen=True, slots=True)
class Loss:
    """A champion on fresh rows against what it showed on its holdout.

    Attributes:
        promised: The primary metric on the holdout.
        measured: The same on the fresh rows.
        comparable: `measured`, as it were with the holdout's mix of labels.
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
    """A picture of one version's answers on its holdout, to be drawn beside another version's.

    Attributes:
        name: Of its file.
        x, y: Points, in order of x.
        label: Of the line.
        step: Whether y jumps at each x.
        error: Half of the interval of each y. None draws none.
        log: Whether both axes are logarithmic.
        shares: Whether both axes are shares, which are drawn from 0 to 1.
        reference: What a line without any skill is called, and its points.
        mark: A point that stands out, and what it is called.
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
        value: None with too few rows.
        rows: Rows that it rests on.
        effective: Independent rows that would know it as well.
        spread: Standard deviation of one row's contribution, in the unit of `value`. 0 for a share, whose value says it.
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
    """What labelled answers turned out to be."""

    rows: int
    figures: dict[str, Figure]


class HoldoutVariation(msgspec.Struct, frozen=True):
    """A figure of the holdout, and how much its days differ. mean: over all rows. std: between days, chance included."""

    mean: float
    std: float
    days: int


@dataclass(frozen=True, slots=True)
class AnswerCounts:
    """Answers without their labels, counted.

    Attributes:
        score_counts: Answers per bin of `SCORE_EDGES` (dojo/core/tasks/score_bins.py).
        score_sums: Sum of scores per bin.
    """

    rows: int
    flagged: int
    score_counts: npt.NDArray[np.int64]
    score_sums: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Proxies:
    """What a version's holdout showed of figures that need no labels.

    Attributes:
        rows: Of the holdout.
        figures: Name -> the holdout's value and its days'.
        calibration: Rate of positives by bin of scores. Empty where the task has none.
    """

    rows: int
    figures: Mapping[str, HoldoutVariation]
    calibration: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelTest:
    """A sequential test of a rollout's watch. Each label that it applies to is one trial.

    Attributes:
        measures: The share that is tested, in words.
        limit: Largest allowed share. None where nothing is known to compare with, and `note` says why.
        needed: Trials before it may say ok.
    """

    name: str
    measures: str
    limit: float | None
    needed: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Quantity:
    """What two arms of an experiment are compared by: a sum over another sum, each of all requests of an arm.

    Attributes:
        above: What each request adds above the line.
        below: What it adds below.
        counts: Whether the request counts towards `needed`.
        needed: Requests that count in each arm before the quantity is measured.
        of: What those are, in the plural.
        share: Whether it is the share of trials that hit. Otherwise a ratio of sums.
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
        kind: Its type, with its bounds and description.
        datatype: In the Open Inference Protocol.
        example: For the documentation.
    """

    name: str
    kind: Any
    datatype: Literal["FP64", "BOOL", "INT64"]
    example: float | int | bool


class AnswerValues(NamedTuple):
    """What a task makes of one instance's score.

    Attributes:
        values: Of the task's columns, in their order.
        flagged: Whether the answer asks for an action. None where the task flags nothing.
    """

    values: tuple[Any, ...]
    flagged: bool | None
