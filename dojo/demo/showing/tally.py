"""The demo's counts: predictions, and their results as outcomes arrive. Pure."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from dojo.core.events.types import Outcome, Prediction
from dojo.core.outcome_join import OutcomeJoin
from dojo.shop.events import Transaction
from dojo.stats.scores.classification import MINIMUM_POSITIVES, pr_auc

# Latencies cover the latest predictions only, so that the view shows the present without the
# start-up.
LATENCY_WINDOW = 2_000

# Payments whose amounts are remembered until they are answered: a minute of the demo's traffic.
AMOUNTS = 20_000

# A demo lives some days of the shop in minutes, and labels take days. So most of its answers wait
# at once.
WAITING = 1_000_000


@dataclass(frozen=True, slots=True)
class VersionSnapshot:
    """The results of one version's answers, as far as labels have arrived.

    Rates are fractions. None means insufficient data. Version "0" is the spec's fallback, which
    answers before the first version.
    """

    predictions: int
    caught: int
    missed: int
    false_alarms: int
    caught_euro: float
    missed_euro: float
    catch_rate: float | None
    false_positive_rate: float | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One view of the tally.

    Rates are fractions, latencies milliseconds, amounts euro. None means insufficient data.
    """

    predictions: int
    flagged: int
    degraded: dict[str, int]
    versions: dict[str, int]
    p50_ms: float | None
    p99_ms: float | None
    labelled: int
    caught: int
    missed: int
    false_alarms: int
    caught_euro: float
    missed_euro: float
    catch_rate: float | None
    false_positive_rate: float | None
    pr_auc: float | None
    by_version: dict[str, VersionSnapshot]


class _ToLabel(NamedTuple):
    """The parts of a prediction that are kept for its label."""

    version: str
    score: float
    flagged: bool
    amount: float


@dataclass(slots=True)
class Tally:
    """Counts each prediction once, and each pair of a prediction and its latest outcome."""

    _labels: OutcomeJoin[_ToLabel, int] = field(default_factory=lambda: OutcomeJoin(limit=WAITING))
    _seen: set[str] = field(default_factory=set)
    _latencies: deque[float] = field(default_factory=lambda: deque(maxlen=LATENCY_WINDOW))
    _degraded: Counter[str] = field(default_factory=Counter)
    _versions: Counter[str] = field(default_factory=Counter)
    _cells: Counter[tuple[str, int, bool]] = field(
        default_factory=Counter
    )  # (version, label, flagged)
    _euro: defaultdict[tuple[str, bool], float] = field(
        default_factory=lambda: defaultdict(float)
    )  # fraud's amounts by (version, flagged)
    _amounts: OrderedDict[str, float] = field(default_factory=OrderedDict)
    _flagged: int = 0

    def add_transaction(self, event: Transaction) -> None:
        """Remember its amount, because an answer of the fallback carries no features."""
        self._amounts[event.transaction_id] = event.amount
        while len(self._amounts) > AMOUNTS:
            self._amounts.popitem(last=False)

    def add_prediction(self, event: Prediction) -> None:
        if event.request_id in self._seen:
            return
        self._seen.add(event.request_id)
        self._flagged += bool(event.flagged)
        self._versions[event.version] += 1
        self._degraded.update(event.degraded)
        self._latencies.append(event.latency_seconds * 1000)
        amount = event.features.get("amount", self._amounts.pop(event.request_id, 0.0))
        answer = _ToLabel(event.version, event.score, bool(event.flagged), amount)
        self._count_pair(self._labels.predicted(event.request_id, answer))

    def add_outcome(self, event: Outcome) -> None:
        """Count an outcome.

        Outcomes of payments without a prediction here (history's) wait uncounted. Each costs one
        dictionary entry. A hidden label counts nowhere.
        """
        if event.label is None:
            return
        label, at = int(event.label), event.world_time.timestamp()
        if (before := self._labels.corrected(event.request_id, label, at)) is not None:
            self._count_pair(before, -1)
            self._count_pair((before[0], label))
        else:
            self._count_pair(self._labels.known(event.request_id, label, at))

    def _count_pair(self, pair: tuple[_ToLabel, int] | None, times: int = 1) -> None:
        if pair is None:
            return
        answer, label = pair
        self._cells[(answer.version, label, answer.flagged)] += times
        if label:
            self._euro[answer.version, answer.flagged] += times * answer.amount

    def snapshot(self) -> Snapshot:
        caught, missed = self._count(1, True), self._count(1, False)
        false_alarms, passed = self._count(0, True), self._count(0, False)
        latencies = np.asarray(self._latencies)
        scores = np.asarray([answer.score for answer, _ in self._labels.paired.values()])
        labels = np.asarray([label for _, label in self._labels.paired.values()])
        enough = caught + missed >= MINIMUM_POSITIVES and false_alarms + passed > 0
        return Snapshot(
            predictions=len(self._seen),
            flagged=self._flagged,
            degraded=dict(self._degraded),
            versions=dict(self._versions),
            p50_ms=float(np.percentile(latencies, 50)) if latencies.size else None,
            p99_ms=float(np.percentile(latencies, 99)) if latencies.size else None,
            labelled=len(labels),
            caught=caught,
            missed=missed,
            false_alarms=false_alarms,
            caught_euro=sum(euro for (_, flagged), euro in self._euro.items() if flagged),
            missed_euro=sum(euro for (_, flagged), euro in self._euro.items() if not flagged),
            catch_rate=_share(caught, missed),
            false_positive_rate=_share(false_alarms, passed),
            pr_auc=pr_auc(labels, scores) if enough else None,
            by_version={version: self._of_version(version) for version in sorted(self._versions)},
        )

    def _count(self, label: int, flagged: bool) -> int:
        return sum(count for (_, *cell), count in self._cells.items() if cell == [label, flagged])

    def _of_version(self, version: str) -> VersionSnapshot:
        caught, missed = self._cells[(version, 1, True)], self._cells[(version, 1, False)]
        false_alarms, passed = self._cells[(version, 0, True)], self._cells[(version, 0, False)]
        return VersionSnapshot(
            predictions=self._versions[version],
            caught=caught,
            missed=missed,
            false_alarms=false_alarms,
            caught_euro=self._euro[version, True],
            missed_euro=self._euro[version, False],
            catch_rate=_share(caught, missed),
            false_positive_rate=_share(false_alarms, passed),
        )


def _share(part: int, rest: int) -> float | None:
    return part / (part + rest) if part + rest else None
