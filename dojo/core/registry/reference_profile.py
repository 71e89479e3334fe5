"""The reference profile: what a version's inputs, scores and results were when it was trained, which drift is measured against.

Taken from the holdout: rows the model has not learned from, so its scores on them are honest, and the most recent ones, so that
features, scores and results describe the same fortnight. Fixed quantile edges with open outer ends (dojo/stats/histograms/binning.py).

A world has rhythms that are no drift: people pay otherwise at night than at noon, on Sundays than on Mondays. Counts are therefore kept by
*slot* (hour of the day, working day or weekend), so that an hour is compared with the same hour of the holdout. And days differ by more
than chance of independent rows gives (campaigns of fraud, customers who pay often): `HoldoutVariation` says by how much the holdout's own
windows differ from the rest of it.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from dojo.stats.histograms.binning import bin_counts, quantile_edges

BINS = 10  # ten bins resolve a shift of half a standard deviation and need only ~300 rows per check (FACTS)

SLOTS = 48  # 24 hours of working days, then 24 of weekend days, UTC

# Profiles of this format can be monitored; older ones know only `counts`.
FORMAT = 2

# Scores are kept in bins of equal width of log-odds, so that the rare high scores, which decide PR-AUC, are told apart. The same for all
# versions: 0.2 in log-odds is a fifth of a score's odds, and loses less than 0.005 of PR-AUC to ties.
SCORE_EDGES = tuple(float(edge) for edge in 1 / (1 + np.exp(-np.arange(-8.0, 8.01, 0.2))))


class UnusableProfileError(ValueError):
    """The file is no reference profile, or of a version that was trained before profiles held what monitoring needs."""


class Distribution(msgspec.Struct, frozen=True):
    """Counts over (-inf, edges[0]], (edges[0], edges[1]], ..., (edges[-1], inf): one more count than edges.

    Attributes:
        low, high: smallest and largest value of the rows, in the column's unit.
        slots: counts by slot, shape (SLOTS, bins); empty where times were not known.
        quiet_hour, quiet_day: excess of PSI between a window of the holdout and the rest of it over what independent rows give, per degree of
            freedom: 1/quiet is the number of independent rows that a window is worth at most, however many it has. 0 is none.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    mean: float
    std: float
    low: float | None = None
    high: float | None = None
    slots: tuple[tuple[int, ...], ...] = ()
    quiet_hour: float = 0.0
    quiet_day: float = 0.0


class HoldoutVariation(msgspec.Struct, frozen=True):
    """A figure of the holdout, and how much its days differ. mean: over all rows. std: between days, beyond nothing: chance included."""

    mean: float
    std: float
    days: int


class Group(msgspec.Struct, frozen=True):
    """What the version's answers on a group of holdout rows turned out to be.

    Attributes:
        effective_positives, effective_negatives: numbers of independent ones that would know the rates as well (dojo/stats/inference/proportions.py).
        pr_auc: None where there are too few positives.
    """

    rows: int
    positives: int
    caught: int
    false_positives: int
    effective_positives: float
    effective_negatives: float
    pr_auc: float | None

    @property
    def catch_rate(self) -> float | None:
        return self.caught / self.positives if self.positives else None

    @property
    def false_positive_rate(self) -> float | None:
        return self.false_positives / (self.rows - self.positives) if self.rows > self.positives else None


class Segmentation(msgspec.Struct, frozen=True):
    """Groups of rows by one feature: (-inf, cuts[0]], (cuts[0], cuts[1]], ... One more name than cuts."""

    feature: str
    cuts: tuple[float, ...]
    names: tuple[str, ...]

    def codes(self, values: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
        """Number of each value's group, shape of `values`."""
        return np.searchsorted(np.asarray(self.cuts), values, side="left")


class TrainingSet(msgspec.Struct, frozen=True, kw_only=True):
    """All examples that a version was fitted, validated and judged on: what its successor's are compared with.

    Attributes:
        rows: Number of examples.
        positives: Number of examples with label 1.
        missing: View -> share of examples for which it had no values.
        counts: Feature -> examples per bin of the profile's `features`.
    """

    rows: int
    positives: int
    missing: dict[str, float]
    counts: dict[str, tuple[int, ...]]


class ReferenceProfile(msgspec.Struct, frozen=True, kw_only=True):
    """
    Attributes:
        rows: how many were counted. features: in the model's input order. score: of the positive class.
        format: FORMAT, or 1 of a profile that only has what stands before it.
        score_counts, score_sums: rows, and sum of scores, by bin of SCORE_EDGES.
        calibration: Rate of positives by bin of SCORE_EDGES, isotonic. Empty in profiles from before it was kept.
        training: None in profiles from before it was kept.
        missing: view -> share of rows for which it had no values.
        flagged: share of rows at or above the version's threshold, and by day. expected_pr_auc: PR-AUC expected from the scores alone.
        results: of all rows; segments: by group of `segmentation`; None and empty where labels were not given.
    """

    rows: int
    features: dict[str, Distribution]
    score: Distribution
    format: int = 1
    score_counts: tuple[int, ...] = ()
    score_sums: tuple[float, ...] = ()
    calibration: tuple[float, ...] = ()
    training: TrainingSet | None = None
    missing: dict[str, float] = {}
    flagged: HoldoutVariation | None = None
    expected_pr_auc: HoldoutVariation | None = None
    results: Group | None = None
    segmentation: Segmentation | None = None
    segments: dict[str, Group] = {}

    def write(self, path: Path) -> None:
        path.write_bytes(msgspec.json.encode(self))

    @staticmethod
    def read(path: Path) -> ReferenceProfile:
        """Raises UnusableProfileError, OSError."""
        try:
            return msgspec.json.decode(path.read_bytes(), type=ReferenceProfile)
        except msgspec.MsgspecError as error:
            raise UnusableProfileError(f"{path.name}: {error}") from error

    def require_monitoring(self) -> ReferenceProfile:
        """Itself. Raises UnusableProfileError for a profile without what monitoring needs."""
        if self.format < FORMAT:
            raise UnusableProfileError(
                f"the profile has format {self.format}, monitoring needs {FORMAT}: the version was trained before; "
                "it is monitored again from its next retraining on"
            )
        return self


def slot_numbers(times: npt.NDArray[np.datetime64]) -> npt.NDArray[np.int64]:
    """The slot of each moment (UTC), shape of `times`."""
    hours = times.astype("datetime64[h]").astype(np.int64)
    weekday = (hours // 24 + 3) % 7  # 1970-01-01 was a Thursday
    return hours % 24 + np.where(weekday >= 5, 24, 0)


def distribution(values: npt.NDArray[np.floating]) -> Distribution:
    """One column's distribution, without slots. Raises ValueError for no rows or values that are not finite."""
    exact = np.asarray(values, dtype=np.float64)
    edges = quantile_edges(exact, BINS)
    return Distribution(
        edges=tuple(edges.tolist()),
        counts=tuple(bin_counts(exact, edges).tolist()),
        mean=float(exact.mean()),
        std=float(exact.std()),
        low=float(exact.min()),
        high=float(exact.max()),
    )
