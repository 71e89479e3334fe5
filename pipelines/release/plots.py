"""The figures of a version, as PNG files: what a reviewer looks at before the numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from dojo.stats.scores.classification import pr_auc

COLOUR = "#1f5fa8"
MUTED = "#8a8f98"
TOP_FEATURES = 20
STYLE: Any = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e6ea",
}


def precision_recall_plot(
    labels: npt.NDArray[np.int8], scores: npt.NDArray[np.floating], threshold: float, title: str, target: Path
) -> None:
    """Precision against recall over all thresholds, with the operating point of `threshold` marked."""
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(labels[order])
    last_of_tie = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    recall, precision = (found / found[-1])[last_of_tie], (found / np.arange(1, len(found) + 1))[last_of_tie]
    flagged = scores >= threshold
    with mpl.rc_context(STYLE):
        figure, axes = _figure(title)
        axes.step(recall, precision, where="post", color=COLOUR, lw=2, label=f"model (PR-AUC {pr_auc(labels, scores):.3f})")
        axes.axhline(labels.mean(), color=MUTED, ls="--", label=f"random score ({labels.mean():.2%} positive)")
        if flagged.any():
            axes.plot(
                labels[flagged].sum() / labels.sum(), labels[flagged].mean(), "o", ms=9, color="#c2410c", zorder=3,
                label=f"threshold {threshold:.3f}",
            )  # fmt: skip
        axes.set(xlabel="Recall: share of positives that are flagged", ylabel="Precision: share of positives among flagged")
        axes.set(xlim=(0, 1), ylim=(0, 1.02))
        axes.legend(loc="lower left", bbox_to_anchor=(0, 0.04))
        figure.savefig(target)


def calibration_plot(labels: npt.NDArray[np.int8], scores: npt.NDArray[np.floating], title: str, target: Path) -> None:
    """Observed against predicted fraud rate, in bins that narrow towards the highest scores, both axes logarithmic.

    Nearly all payments score below one percent: bins of equal width or equal counts would hide the few that matter.
    """
    cuts = np.unique(np.quantile(scores, [0, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 1]))
    index = np.clip(np.searchsorted(cuts, scores, side="right") - 1, 0, len(cuts) - 2)
    rows = np.bincount(index, minlength=len(cuts) - 1)
    predicted = np.bincount(index, weights=scores, minlength=len(rows)) / np.maximum(rows, 1)
    observed = np.bincount(index, weights=labels, minlength=len(rows)) / np.maximum(rows, 1)
    error = 1.96 * np.sqrt(observed * (1 - observed) / np.maximum(rows, 1))  # 95 %, normal approximation
    shown = (rows > 0) & (observed > 0)
    with mpl.rc_context(STYLE):
        figure, axes = _figure(title)
        low = max(float(np.min(np.concatenate([predicted[shown], observed[shown], [0.1]]))) / 2, 1e-5)
        axes.plot([low, 1], [low, 1], color=MUTED, ls="--", label="perfect")
        axes.errorbar(
            predicted[shown], observed[shown], yerr=np.minimum(error, observed * 0.9)[shown], fmt="o-", color=COLOUR, capsize=3,
            label="holdout, 95 % interval",
        )  # fmt: skip
        axes.set(xscale="log", yscale="log", xlim=(low, 1.1), ylim=(low, 1.1))
        axes.set(xlabel="Predicted probability (mean of bin)", ylabel="Observed share of positives")
        axes.legend(loc="upper left")
        figure.savefig(target)


def importance_plot(importance: Mapping[str, float], title: str, target: Path) -> None:
    """The features that reduced the loss most, as shares of the total gain."""
    total = sum(importance.values()) or 1.0
    top = sorted(importance.items(), key=lambda item: item[1])[-TOP_FEATURES:]
    with mpl.rc_context(STYLE):
        figure, axes = _figure(title, height=0.32 * len(top) + 1.5)
        axes.barh([name for name, _ in top], [value / total for _, value in top], color=COLOUR)
        axes.xaxis.set_major_locator(MultipleLocator(0.05))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("Share of total gain (loss reduction over all splits)")
        figure.savefig(target)


def _figure(title: str, height: float = 5.5) -> tuple[Figure, Axes]:
    # Not pyplot: its global state keeps figures alive and picks a display.
    figure = Figure(figsize=(8, height), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left", fontweight="bold")
    return figure, axes


def rival_curves_plot(
    labels: npt.NDArray[np.int8], scores: Mapping[str, npt.NDArray[np.floating]], title: str, target: Path
) -> None:
    """Precision against recall of several models on the same rows. scores: name -> shape (rows,); the last one stands out."""
    with mpl.rc_context(STYLE):
        figure, axes = _figure(title)
        for name, judged in scores.items():
            order = np.argsort(-judged, kind="stable")
            found = np.cumsum(labels[order])
            last_of_tie = np.append(np.flatnonzero(np.diff(judged[order])), len(order) - 1)
            recall, precision = (found / found[-1])[last_of_tie], (found / np.arange(1, len(found) + 1))[last_of_tie]
            colour = COLOUR if name == list(scores)[-1] else MUTED
            axes.step(
                recall, precision, where="post", color=colour, lw=2, label=f"{name} (PR-AUC {pr_auc(labels, judged):.3f})"
            )
        axes.set(xlabel="Recall: share of positives that are flagged", ylabel="Precision: share of positives among flagged")
        axes.set(xlim=(0, 1), ylim=(0, 1.02))
        axes.legend(loc="lower left")
        figure.savefig(target)


def gains_plot(drawn: npt.NDArray[np.float64], interval: tuple[float, float], minimum: float, title: str, target: Path) -> None:
    """The bootstrapped relative gains, with their interval, zero and the minimum that a winner needs."""
    with mpl.rc_context(STYLE):
        figure, axes = _figure(title, height=3.6)
        axes.hist(drawn, bins=60, color=COLOUR, alpha=0.75)
        axes.axvspan(*interval, color=COLOUR, alpha=0.12, label=f"interval {interval[0]:+.1%} to {interval[1]:+.1%}")
        axes.axvline(0, color="black", lw=1.2)
        axes.axvline(minimum, color="#c2410c", ls="--", lw=1.2, label=f"minimum {minimum:+.1%}")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:+.1%}")
        axes.set(xlabel="PR-AUC gain, relative to the champion's", ylabel="Draws")
        axes.legend(loc="upper right")
        figure.savefig(target)
