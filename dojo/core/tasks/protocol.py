"""The differences between the kinds of prediction.

All code outside `dojo/core/tasks` asks a `Task` and knows no kind.
"""

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
    Targets,
)
from dojo.stats.inference.bootstrap import RelativeGain


class Task(Protocol):
    """One spec's kind of prediction.

    A method with a body gives the default for a task without this property.

    Attributes:
        metrics: All figures that `evaluate` may return, in the order of tables.
        support_name: The things counted by `support`, in the plural.
        headline: The figure of `results` that stands for them all.
        proxy_windows: Check of figures without labels -> its windows.
        level_keys: Check, or subject of `performance` -> key of its levels in the spec's
            drift.performance.
        essential: Subjects of `performance`. One of them must be measured before `performance` is
            ok.
        score_bounds: Smallest and largest sensible score, both included.
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
        """The allowed values of a label."""

    def label_faults(self, labels: Array) -> list[str]:
        """Return the faults of a training set's labels as a whole, one line each."""

    def part_fault(self, labels: Array) -> str:
        """Return why a part of a training set teaches or shows nothing. Empty when it does."""

    def leak(self, values: Array, labels: Array) -> Leak:
        """Return how much a feature knows about the label."""

    @property
    def objective(self) -> Mapping[str, Any]:
        """LightGBM's parameters decided by the task: objective, metric and their own parameters."""

    def lists(
        self, entities: Mapping[str, npt.NDArray[Any]], times: npt.NDArray[np.datetime64]
    ) -> Codes | None:
        """Return the list of each row. None where rows stand alone."""
        return None

    @property
    def listed_by(self) -> tuple[str, ...]:
        """The entities that rows of one list share. Empty where rows stand alone."""
        return ()

    @property
    def item(self) -> str | None:
        """The entity that flagged answers recommend. None where they recommend nothing."""
        return None

    def targets(
        self,
        labels: npt.NDArray[np.float64],
        weights: npt.NDArray[np.float64] | None,
        lists: Codes | None,
    ) -> Targets:
        """Return what LightGBM fits, from all rows of a fit.

        Args:
            labels: Shape (rows,).
            weights: As in `Answered`.
            lists: As from `lists`.
        """
        return Targets(labels, weights)

    def stands_for(self, weights: npt.NDArray[np.float64] | None) -> npt.NDArray[np.float64] | None:
        """Return the number of like requests that each labelled row stands for.

        None where each stands for itself.

        Args:
            weights: As in `Answered`.
        """
        return weights

    # How good it is.

    def decide(self, validation: Answered) -> dict[str, float]:
        """Choose a version's decision on its validation rows."""
        return {}

    def flagged(self, scores: Array, decision: Decision) -> npt.NDArray[np.bool_] | None:
        """Return which answers ask for an action. None where the task flags nothing."""
        return None

    def evaluate(self, holdout: Answered) -> dict[str, float]:
        """Return `metrics`. Only those that the spec does not ask for are missing."""

    def curves(self, holdout: Answered, label: str) -> tuple[Curve, ...]:
        """Return pictures of the answers. The first one compares versions best."""

    def support(self, answered: Answered) -> int:
        """Return the number of positives, labels or lists behind the figures."""

    def too_few(self, answered: Answered) -> str:
        """Return why two versions cannot be compared on these rows. Empty when they can."""

    def too_few_live(self, support: int, rows: int) -> str:
        """Return why this support is too small to judge a champion on fresh rows.

        Empty if it is enough.
        """

    def gain(self, champion: Answered, challenger: Answered, draws: int) -> RelativeGain:
        """Return the gain of the primary metric, relative to the champion's. Above 0 is better."""

    @property
    def guards(self) -> tuple[GuardRule, ...]:
        """The task's own guards of the gate."""

    def loss(self, fresh: Answered, promised: Mapping[str, float]) -> Loss:
        """Return a champion's loss on fresh rows.

        Args:
            fresh: Fresh labelled rows, as the champion answered them.
            promised: The metrics recorded by the version's run, with `support_holdout` and
                `rows_holdout`.

        Raises:
            KeyError: A metric is missing.
        """

    def baseline(self, champion: Answered, challenger: Decision) -> dict[str, float]:
        """Return the figures that the challenger's rollout compares with.

        Args:
            champion: The gate's holdout, as the old champion answers it.
            challenger: The challenger's decision.
        """

    def intended_use(self, decision: Decision) -> str:
        """Return for the model card what an answer means and who acts on it."""

    def no_skill(self, metrics: Mapping[str, float]) -> tuple[str, float]:
        """Return name and value of the primary metric without any skill."""

    # What callers get.

    @property
    def columns(self) -> tuple[AnswerColumn, ...]:
        """The values of an answer, the score first."""

    def answers(
        self, scores: Sequence[float], decisions: Sequence[Decision | None]
    ) -> list[AnswerValues]:
        """Return the answer of each instance of one request.

        Args:
            scores: Score of each instance.
            decisions: Decision of the version that scored each instance. None for the spec's
                fallback.
        """

    # How two arms of an experiment are compared.

    def quantities(
        self, requests: Answered, stakes: npt.NDArray[np.float64]
    ) -> tuple[Quantity, ...]:
        """Return the measured quantities of an arm's requests.

        Args:
            requests: Requests of the arm. `labels` are NaN where they are not known yet.
            stakes: Euros at stake in each request, NaN where they are unknown.
        """

    # How live answers are judged.

    def results(self, answered: Answered) -> Results:
        """Return figures of labelled answers."""

    def lacking(self, results: Results) -> str:
        """Return what is missing before the figures mean anything.

        Empty when nothing is missing.
        """

    def performance(self, live: Results, holdout: Results) -> dict[str, Measured]:
        """Return the losses of labelled answers against the version's holdout, by subject."""

    def segment(self, name: str, live: Results, holdout: Results, level: float) -> Measured:
        """Return the headline's loss in one segment, tested at `level`."""

    def split_labels(self, labels: Array) -> npt.NDArray[np.bool_]:
        """Split labels in two groups to compare their delays.

        Early labels are a fair sample only if the delays do not differ.
        """

    def calibration(self, holdout: Answered) -> tuple[float, ...]:
        """Return the rate of positives by bin of scores. Empty where the task has none."""
        return ()

    def proxies(self, counts: AnswerCounts, calibration: tuple[float, ...]) -> dict[str, float]:
        """Return figures of answers with unknown labels."""
        return {}

    def proxy(self, check: str, counts: AnswerCounts, holdout: Proxies) -> dict[str, Measured]:
        """Return what a window's answers say without labels, for one check of `proxy_windows`."""
        raise KeyError(check)

    # How a rollout is judged.

    @property
    def flag_ratio(self) -> float | None:
        """The largest allowed ratio between the flagged answers of challenger and champion.

        It holds up and down. None where the task flags nothing.
        """
        return None

    def score_edges(self, baseline: Mapping[str, float]) -> tuple[tuple[float, ...], float] | None:
        """Return the bins for comparing two arms' scores, and the largest allowed PSI.

        None where scores of different versions have no common scale.
        """
        return None

    def label_tests(self, baseline: Mapping[str, float]) -> tuple[LabelTest, ...]:
        """Return the tests of the watch."""

    def kept(self, score: float, flagged: bool | None) -> float:
        """Return the part of an answer to remember until its label comes."""

    def trials(self, kept: float, label: float, baseline: Mapping[str, float]) -> dict[str, bool]:
        """Return test -> whether the bad event happened, for each test that uses this label."""
