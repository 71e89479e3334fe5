"""What differs between the kinds of prediction. Everything outside `dojo/core/tasks` asks a `Task` and knows no kind.

Shapes: arrays have shape (rows,) unless they say otherwise. A *score* is the one number that a version gives a row, in the unit of
its task: a probability, a value, a relevance. A *decision* is what a version fixed on its validation rows and serves by, by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from dojo.core.tasks.measured import Measured
from dojo.stats.inference.bootstrap import RelativeGain

Array = npt.NDArray[np.floating[Any]] | npt.NDArray[np.integer[Any]]
Codes = npt.NDArray[np.integer[Any]]
Decision = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Answered:
    """Rows with their labels and one version's scores.

    Attributes:
        flagged: Answers that asked for an action. None where the task flags nothing.
        entities: Entity -> key of each row, as text or number. Rows of one entity resemble each other.
        times: UTC, datetime64. Empty where no one needs them.
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


class Given(NamedTuple):
    """What a task makes of one instance's score.

    Attributes:
        values: Of the task's columns, in their order.
        flagged: Whether the answer asks for an action. None where the task flags nothing.
    """

    values: tuple[Any, ...]
    flagged: bool | None


class Task(Protocol):
    """One spec's kind of prediction.

    Attributes:
        metrics: Every figure that `evaluate` gives, in the order that tables show.
        support_name: What `support` counts, in the plural.
        headline: The figure of `results` that stands for them all.
        proxy_windows: Check of figures that need no labels -> the windows that it is made over.
        level_keys: Check, or subject of `performance` -> key of its levels in the spec's drift.performance.
        essential: Subjects of `performance` of which one must be measured: it is not ok by the others alone.
        score_bounds: Between which a score makes sense, both ends included.
    """

    metrics: Mapping[str, Metric]
    support_name: str
    headline: str
    proxy_windows: Mapping[str, tuple[Literal["hour", "day"], ...]]
    level_keys: Mapping[str, str]
    essential: frozenset[str]
    score_bounds: tuple[float, float]

    def __init__(self, spec: Any) -> None: ...

    # What a version learns from.

    @property
    def label_values(self) -> LabelValues:
        """What a label may be."""

    def label_faults(self, labels: Array) -> list[str]:
        """What is wrong with the labels of a training set as a whole, one line each."""

    def part_fault(self, labels: Array) -> str:
        """Why a part of a training set teaches or shows nothing; empty when it does."""

    def leak(self, values: Array, labels: Array) -> Leak:
        """How much a feature knows about the label."""

    @property
    def objective(self) -> Mapping[str, Any]:
        """LightGBM's parameters that the task decides: objective, metric and their own."""

    def lists(self, entities: Mapping[str, npt.NDArray[Any]], times: npt.NDArray[np.datetime64]) -> Codes | None:
        """The list that each row belongs to; None where rows stand alone."""

    # How good it is.

    def decide(self, validation: Answered) -> dict[str, float]:
        """What a version serves by, chosen on its validation rows."""

    def flagged(self, scores: Array, decision: Decision) -> npt.NDArray[np.bool_] | None:
        """Which answers ask for an action; None where the task flags nothing."""

    def evaluate(self, holdout: Answered) -> dict[str, float]:
        """Every one of `metrics`."""

    def curves(self, holdout: Answered, label: str) -> tuple[Curve, ...]:
        """Pictures of the answers, the one that compares versions best first."""

    def support(self, answered: Answered) -> int:
        """How much the figures rest on: positives, labels or lists."""

    def too_few(self, answered: Answered) -> str:
        """Why two versions cannot be compared on these rows; empty when they can."""

    def too_few_live(self, support: int, rows: int) -> str:
        """Why a champion cannot be judged on fresh rows with this support; empty when it can."""

    def gain(self, champion: Answered, challenger: Answered, draws: int) -> RelativeGain:
        """Gain of the primary metric, relative to the champion's, above 0 when the challenger is better."""

    @property
    def guards(self) -> tuple[GuardRule, ...]:
        """The task's own guards of the gate."""

    def loss(self, fresh: Answered, promised: Mapping[str, float]) -> Loss:
        """A champion's loss.

        Args:
            promised: The metrics that the version's run recorded, with `support_holdout` and `rows_holdout`.

        Raises:
            KeyError: One that is needed is missing.
        """

    def baseline(self, champion: Answered) -> dict[str, float]:
        """What a rollout holds live answers against: figures of the old champion on the gate's holdout."""

    def use(self, decision: Decision) -> str:
        """What an answer means and who acts on it, for the model card."""

    def unskilled(self, metrics: Mapping[str, float]) -> tuple[str, float]:
        """What the primary metric is without any skill: its name and value."""

    # What callers get.

    @property
    def columns(self) -> tuple[AnswerColumn, ...]:
        """The values of an answer, the score first."""

    def answers(self, scores: Sequence[float], decisions: Sequence[Decision | None]) -> list[Given]:
        """What each instance of one request gets.

        Args:
            decisions: Of the version that scored each. None where the spec's fallback did.
        """

    # What two arms of an experiment are compared by.

    def quantities(self, requests: Answered, stakes: npt.NDArray[np.float64]) -> tuple[Quantity, ...]:
        """What is measured of the requests of an arm.

        Args:
            requests: `labels` are NaN where they are not known yet.
            stakes: Euros that a request is about, NaN where nothing says it.
        """

    # How live answers are judged.

    def results(self, answered: Answered) -> Results:
        """Figures of labelled answers."""

    def lacking(self, results: Results) -> str:
        """What is missing before the figures mean anything; empty when nothing is."""

    def performance(self, live: Results, holdout: Results) -> dict[str, Measured]:
        """What labelled answers lost against the version's holdout, by subject."""

    def segment(self, name: str, live: Results, holdout: Results, level: float) -> Measured:
        """The headline's loss in one segment, tested at `level`."""

    def one_side(self, labels: Array) -> npt.NDArray[np.bool_]:
        """Splits labels in two, whose delays are compared: early labels are a fair sample only if they do not differ."""

    def calibration(self, holdout: Answered) -> tuple[float, ...]:
        """Rate of positives by bin of scores; empty where the task has none."""

    def proxies(self, counts: AnswerCounts, calibration: tuple[float, ...]) -> dict[str, float]:
        """Figures of answers whose labels are unknown."""

    def proxy(self, check: str, counts: AnswerCounts, holdout: Proxies) -> dict[str, Measured]:
        """One of `proxy_windows`: what a window's answers say without labels."""

    # How a rollout is judged.

    @property
    def flag_ratio(self) -> float | None:
        """How many times more or fewer answers than the champion's a challenger may flag; None where the task flags nothing."""

    def score_edges(self, baseline: Mapping[str, float]) -> tuple[tuple[float, ...], float] | None:
        """Bins in which two arms' scores are compared, and the PSI that is too much; None where scores of versions differ by nature."""

    def label_tests(self, baseline: Mapping[str, float]) -> tuple[LabelTest, ...]:
        """The tests of the watch."""

    def kept(self, score: float, flagged: bool | None) -> float:
        """What has to be remembered of an answer until its label comes."""

    def happened(self, kept: float, label: float, baseline: Mapping[str, float]) -> dict[str, bool]:
        """Test -> whether the bad thing happened; only the tests that this label is a trial of."""
