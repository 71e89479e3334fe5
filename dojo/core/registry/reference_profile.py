"""The reference profile: a version's inputs, scores and results when it was trained.

Drift is measured against it. It is taken from the holdout. The model has not learned from these
rows, so its scores on them are honest. They are the most recent rows, so features, scores and
results describe the same fortnight. The quantile edges are fixed, with open outer ends
(dojo/stats/histograms/binning.py).

A world has rhythms that are no drift: payments at night differ from payments at noon, and Sundays
from Mondays. Therefore counts are kept by *slot* (hour of the day, working day or weekend). An hour
is compared with the same hour of the holdout. Days also differ more than independent rows would
(campaigns of fraud, customers who pay often). `HoldoutVariation` says how much the holdout's own
windows differ from the rest of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from dojo.core.categories import codes_of
from dojo.core.tasks.records import HoldoutVariation, Proxies, Results
from dojo.stats.histograms.binning import bin_counts, quantile_edges

BINS = 10  # resolves a shift of half a standard deviation, with only ~300 rows per check (FACTS)

SLOTS = 48  # 24 hours of working days, then 24 of weekend days, UTC

# Profiles of this format can be monitored.
FORMAT = 3


class UnusableProfileError(ValueError):
    """The file is no reference profile, or too old a profile for monitoring."""


class Distribution(msgspec.Struct, frozen=True):
    """Counts over (-inf, edges[0]], (edges[0], edges[1]], ..., (edges[-1], inf).

    There is one more count than edges.

    Attributes:
        low: Smallest value of the rows, in the column's unit.
        high: Largest value of the rows, in the column's unit.
        slots: Counts by slot, shape (SLOTS, bins). Empty where times were not known.
        quiet_hour: Excess of the PSI between one hour of the holdout and the rest, per degree of
            freedom. The excess is over the PSI of independent rows. A window never counts as more
            than 1 / excess independent rows. 0 is no excess.
        quiet_day: The same for one day of the holdout.
        categories: Names of the bins of a category, of which the last bin has no name. It counts
            all that the version does not know. Empty for numbers.
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
    categories: tuple[str, ...] = ()

    def binned(self, values: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """Return values as `edges` cut them: codes for the numbers of categories."""
        return codes_of(values, self.categories) if self.categories else values


class Segmentation(msgspec.Struct, frozen=True):
    """Groups of rows by one feature: (-inf, cuts[0]], (cuts[0], cuts[1]], ...

    There is one more name than cuts.
    """

    feature: str
    cuts: tuple[float, ...]
    names: tuple[str, ...]

    def codes(self, values: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
        """Number of each value's group, shape of `values`."""
        return np.searchsorted(np.asarray(self.cuts), values, side="left")


class TrainingSet(msgspec.Struct, frozen=True, kw_only=True):
    """All examples that a version was fitted, validated and judged on.

    Its successor's examples are compared with them.

    Attributes:
        rows: Number of examples.
        label_mean: Mean of the labels, which is the share of positives or the mean value.
        missing: View -> share of examples for which it had no values.
        counts: Feature -> examples per bin of the profile's `features`.
    """

    rows: int
    label_mean: float
    missing: dict[str, float]
    counts: dict[str, tuple[int, ...]]


class ShownItems(msgspec.Struct, frozen=True):
    """What flagged answers recommended.

    Attributes:
        entity: The recommended entity.
        bins: Flagged rows by bin (dojo/core/tasks/item_bins.py).
    """

    entity: str
    bins: Distribution


class ReferenceProfile(msgspec.Struct, frozen=True, kw_only=True):
    """What a version was on its holdout.

    Attributes:
        rows: How many were counted.
        features: By name, in the model's input order.
        score: Of the version's scores.
        results: What the answers on all rows turned out to be.
        format: FORMAT. Profiles of another one cannot be monitored.
        calibration: Rate of positives by bin of scores, isotonic. Empty where the task has none.
        proxies: Figures that need no labels, and how much the holdout's days differ in them.
        missing: View -> share of rows for which it had no values.
        segments: `results` by group of `segmentation`.
        shown: Items of flagged answers. None where the answers recommend nothing.
        decision: The version's decision, as in its bundle. Live answers are judged by it.
    """

    rows: int
    features: dict[str, Distribution]
    score: Distribution
    results: Results
    format: int = 1
    calibration: tuple[float, ...] = ()
    proxies: dict[str, HoldoutVariation] = {}
    training: TrainingSet | None = None
    missing: dict[str, float] = {}
    segmentation: Segmentation | None = None
    segments: dict[str, Results] = {}
    shown: ShownItems | None = None
    decision: dict[str, float] = {}

    @property
    def without_labels(self) -> Proxies:
        """Figures that windows without labels are compared with."""
        return Proxies(self.rows, self.proxies, self.calibration)

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
        """Return itself. Raises UnusableProfileError when the profile is too old for monitoring."""
        if self.format < FORMAT:
            raise UnusableProfileError(
                f"the profile has format {self.format}, monitoring needs {FORMAT}: the version was"
                " trained before; it is monitored again from its next retraining on"
            )
        return self


def category_edges(categories: Sequence[str]) -> tuple[float, ...]:
    """Return the edges between codes, with one bin more than known categories."""
    return tuple(code + 0.5 for code in range(len(categories)))


def slot_numbers(times: npt.NDArray[np.datetime64]) -> npt.NDArray[np.int64]:
    """The slot of each moment (UTC), shape of `times`."""
    hours = times.astype("datetime64[h]").astype(np.int64)
    weekday = (hours // 24 + 3) % 7  # 1970-01-01 was a Thursday
    return hours % 24 + np.where(weekday >= 5, 24, 0)


def distribution(
    values: npt.NDArray[np.floating], bins: tuple[float, ...] | None = None
) -> Distribution:
    """One column's distribution, without slots.

    Args:
        values: Shape (rows,).
        bins: Edges between bins, rising. None for the values' quantiles.

    Raises:
        ValueError: There are no rows, or values are not finite.
    """
    exact = np.asarray(values, dtype=np.float64)
    edges = quantile_edges(exact, BINS) if bins is None else np.array(bins, dtype=np.float64)
    return Distribution(
        edges=tuple(edges.tolist()),
        counts=tuple(bin_counts(exact, edges).tolist()),
        mean=float(exact.mean()),
        std=float(exact.std()),
        low=float(exact.min()),
        high=float(exact.max()),
    )
