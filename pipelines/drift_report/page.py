"""The page: Evidently's data drift preset with our PSI over the reference's own quantiles.

Evidently's own PSI cuts bins of equal width over both sides together. One amount of 1e6 turned a
shift's PSI from 1.02 into 0.00007 (dojo/stats/histograms/binning.py). A feature counts as drifted
beyond the spec's threshold *and* beyond chance for the sampled rows. So page and verdict agree in
meaning.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from dojo.core.spec.monitoring import Drift
from dojo.stats.distances.classifier_drift import FOLDS, classifier_drift
from dojo.stats.distances.psi_noise import psi_critical_value
from dojo.stats.histograms.binning import bin_counts, population_stability_index, quantile_edges
from pipelines.training.reference_rows import SCORE_COLUMN

if TYPE_CHECKING:
    import pandas as pd
    from evidently.legacy.core import ColumnType

# Deals rows into the classifier's folds. Fixed, so that the page is the same at each drawing.
SEED = 0

MEASURE = "psi_reference_quantiles"
MEASURE_SHOWN = "PSI, reference quantiles"


@dataclass(frozen=True, slots=True)
class Page:
    """A drawn report.

    Attributes:
        html: The page, which needs no network.
        psi: Column -> its PSI.
        drifted: Columns beyond their threshold, the worst first.
    """

    html: str
    psi: dict[str, float]
    drifted: tuple[str, ...]


def draw(
    reference: pl.DataFrame,
    current: pl.DataFrame,
    drift: Drift,
    title: str,
    notes: Mapping[str, str],
) -> Page:
    """Compare two samples. Takes about ten seconds for 40 columns.

    Args:
        reference: Columns of numbers, at least one row.
        current: The same columns, at least one row.
        drift: The spec's drift section.
        title: Shown above the drawings.
        notes: Shown above the drawings, as a list of name and text.
    """
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    _register_measure()
    limits = thresholds(reference, current.height, drift)
    definition = DataDefinition(numerical_columns=list(reference.columns))
    sides = [
        Dataset.from_pandas(_frame(side), data_definition=definition)
        for side in (current, reference)
    ]
    with np.errstate(invalid="ignore", divide="ignore"):  # Evidently correlates constants too
        snapshot = Report([DataDriftPreset(method=MEASURE, per_column_threshold=limits)]).run(
            *sides
        )
        drawn = snapshot.get_html_str(as_iframe=False)
    psi = {
        metric["config"]["column"]: float(metric["value"])
        for metric in snapshot.dict()["metrics"]
        if metric["config"].get("method") == MEASURE and "column" in metric["config"]
    }
    beyond = sorted(
        (name for name, value in psi.items() if value >= limits[name]), key=lambda name: -psi[name]
    )
    notes = {**notes, "all features together": told_apart(reference, current, drift)}
    shown = {
        **notes,
        "drifted": ", ".join(f"{name} (PSI {psi[name]:.3f})" for name in beyond) or "none",
    }
    return Page(_headed(drawn, title, shown), psi, tuple(beyond))


def told_apart(reference: pl.DataFrame, current: pl.DataFrame, drift: Drift) -> str:
    """Say how well a classifier tells the two sides apart.

    It sees changes of which each single feature shows only a little.
    """
    names = [
        name for name in reference.columns if name not in drift.calendar and name != SCORE_COLUMN
    ]
    if min(reference.height, current.height) < FOLDS or not names:
        return f"not judged: {current.height} rows and {len(names)} features"
    sides = (side.select(names).to_numpy() for side in (reference, current))
    found = classifier_drift(names, *sides, seed=SEED)
    verdict = (
        "can be told apart"
        if found.p_value < drift.significance
        else "cannot be told apart beyond chance"
    )
    strongest = ", ".join(f"{name} ({auc:.2f})" for name, auc in found.strongest[:3])
    return (
        f"{verdict}: AUC {found.auc:.3f} ({found.low:.3f} to {found.high:.3f}); each alone:"
        f" {strongest}"
    )


def thresholds(reference: pl.DataFrame, current_rows: int, drift: Drift) -> dict[str, float]:
    """Return column -> the PSI at which it counts as drifted.

    It is the spec's warning level, or the noise level where that is higher.
    """
    found = {}
    for name in reference.columns:
        counts = bin_counts(values := reference[name].to_numpy(), quantile_edges(values))
        bins = max(2, int(np.count_nonzero(counts)))
        noise = psi_critical_value(
            bins,
            reference.height,
            current_rows,
            significance=drift.significance,
            features=len(reference.columns),
        )
        found[name] = max(drift.thresholds.warning, noise)
    return found


def _register_measure() -> None:
    """Make our PSI known to Evidently under a name.

    Every process may call it any number of times.
    """
    from evidently.legacy.calculations.stattests.registry import StatTest, register_stattest
    from evidently.legacy.core import ColumnType

    measure = StatTest(
        MEASURE, MEASURE_SHOWN, allowed_feature_types=[ColumnType.Numerical], default_threshold=0.1
    )
    register_stattest(measure, _psi)


def _psi(
    reference: pd.Series, current: pd.Series, _type: ColumnType, threshold: float
) -> tuple[float, bool]:
    edges = quantile_edges(reference.to_numpy())
    psi = population_stability_index(
        bin_counts(reference.to_numpy(), edges), bin_counts(current.to_numpy(), edges)
    )
    return psi, psi >= threshold


def _frame(side: pl.DataFrame) -> pd.DataFrame:
    import pandas as pd

    # Float64, because Evidently's histograms of Float32 columns lose their edges.
    return pd.DataFrame({name: side[name].cast(pl.Float64).to_numpy() for name in side.columns})


def _headed(page: str, title: str, notes: Mapping[str, str]) -> str:
    """Return the page with our title and notes above Evidently's drawings."""
    start = page.index("<body>") + len("<body>")
    lines = "".join(
        f"<li><b>{html.escape(name)}</b>: {html.escape(text)}</li>" for name, text in notes.items()
    )
    header = (
        '<header style="font-family: sans-serif; margin:'
        f' 2em"><h1>{html.escape(title)}</h1><ul>{lines}</ul></header>'
    )
    return page[:start] + header + page[start:]
