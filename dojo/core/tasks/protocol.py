"""What differs between the kinds of prediction. Everything outside `dojo/core/tasks` asks a `Task` and knows no kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import numpy.typing as npt

from dojo.core.tasks.measured import Measured
from dojo.core.tasks.records import (
    AnswerColumn,
    AnswerCounts,
    Answered,
    AnswerValues,
    Array,
    Codes,
    Curve,
    Decision,
    GuardRule,
    LabelTest,
    LabelValues,
    Leak,
    Loss,
    Metric,
    Proxies,
    Quantity,
    Results,
)
from dojo.stats.inference.bootstrap import RelativeGain


class Task(Protocol):
    """One spec's kind of prediction. A method with a body says what holds for a task that has no such thing.

    Attributes:
        metrics: Every figure that `evaluate` gives, in the order that tables show.
        support_name: What `support` counts, in the plural.
        headline: The figure of `results` that stands for them all.
        proxy_windows: Check of figures that need no labels -> the windows that it is made over.
        level_keys: Check, or subject of `performance` -> key of its levels in the spec's drift.performance.
        essential: Subjects of `performance` of which one must be measured: it is not ok by the others alone.
        score_bounds: Between which a score makes sense, both ends included.
    """

    metrics: ClassVar[Mapping[str, Metric]]
    support_name: ClassVar[str]
    headline: ClassVar[str]
    proxy_windows: ClassVar[Mapping[str, tuple[Literal["hour", "day"], ...]]] = {}
    level_keys: ClassVar[Mapping[str, str]]
    essential: ClassVar[frozenset[str]]
    score_bounds: ClassVar[tuple[float, float]]

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
        return None

    # How good it is.

    def decide(self, validation: Answered) -> dict[str, float]:
        """What a version serves by, chosen on its validation rows."""
        return {}

    def flagged(self, scores: Array, decision: Decision) -> npt.NDArray[np.bool_] | None:
        """Which answers ask for an action; None where the task flags nothing."""
        return None

    def evaluate(self, holdout: Answered) -> dict[str, float]:
        """Every one of `metrics`."""

    def curves(self, holdout: Answered, label: str) -> tuple[Curve, ...]:
        """Pictures of the answers. The first one compares versions best."""

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
            KeyError: A metric is missing.
        """

    def baseline(self, champion: Answered) -> dict[str, float]:
        """What a rollout holds live answers against: figures of the old champion on the gate's holdout."""

    def intended_use(self, decision: Decision) -> str:
        """What an answer means and who acts on it, for the model card."""

    def no_skill(self, metrics: Mapping[str, float]) -> tuple[str, float]:
        """What the primary metric is without any skill: its name and value."""

    # What callers get.

    @property
    def columns(self) -> tuple[AnswerColumn, ...]:
        """The values of an answer, the score first."""

    def answers(self, scores: Sequence[float], decisions: Sequence[Decision | None]) -> list[AnswerValues]:
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

    def split_labels(self, labels: Array) -> npt.NDArray[np.bool_]:
        """Splits labels in two, whose delays are compared: early labels are a fair sample only if they do not differ."""

    def calibration(self, holdout: Answered) -> tuple[float, ...]:
        """Rate of positives by bin of scores; empty where the task has none."""
        return ()

    def proxies(self, counts: AnswerCounts, calibration: tuple[float, ...]) -> dict[str, float]:
        """Figures of answers whose labels are unknown."""
        return {}

    def proxy(self, check: str, counts: AnswerCounts, holdout: Proxies) -> dict[str, Measured]:
        """One of `proxy_windows`: what a window's answers say without labels."""
        raise KeyError(check)

    # How a rollout is judged.

    @property
    def flag_ratio(self) -> float | None:
        """How many times more or fewer answers than the champion's a challenger may flag; None where the task flags nothing."""
        return None

    def score_edges(self, baseline: Mapping[str, float]) -> tuple[tuple[float, ...], float] | None:
        """Bins in which two arms' scores are compared, and the PSI that is too much; None where scores of versions differ by nature."""
        return None

    def label_tests(self, baseline: Mapping[str, float]) -> tuple[LabelTest, ...]:
        """The tests of the watch."""

    def kept(self, score: float, flagged: bool | None) -> float:
        """What has to be remembered of an answer until its label comes."""

    def trials(self, kept: float, label: float, baseline: Mapping[str, float]) -> dict[str, bool]:
        """Test -> whether the bad thing happened; only the tests that this label is a trial of."""
