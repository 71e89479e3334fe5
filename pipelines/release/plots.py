"""The figures of a version as PNG files, for a reviewer to see before the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from dojo.core.tasks.records import Curve

COLOUR = "#1f5fa8"
MUTED = "#8a8f98"
TOP_FEATURES = 20
MARKED = 20  # most points of a line with marks, because more marks hide the line
STYLE: Any = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e6ea",
}


def curve_plot(curves: Sequence[Curve], title: str, target: Path) -> None:
    """Draw one kind of curve, of one version or of several on the same rows.

    The last curve stands out.
    """
    last = curves[-1]
    with mpl.rc_context(STYLE):
        figure, axes = _figure(title)
        if last.reference is not None:
            name, x, y = last.reference
            axes.plot(x, y, color=MUTED, ls="--", label=name)
        for curve in curves:
            colour = COLOUR if curve is last else MUTED
            if curve.error is not None:
                axes.errorbar(
                    curve.x,
                    curve.y,
                    yerr=curve.error,
                    fmt="o-",
                    color=colour,
                    capsize=3,
                    label=curve.label,
                )
            elif curve.step:
                axes.step(curve.x, curve.y, where="post", color=colour, lw=2, label=curve.label)
            else:
                axes.plot(
                    curve.x,
                    curve.y,
                    "o-" if len(curve.x) <= MARKED else "-",
                    color=colour,
                    lw=2,
                    label=curve.label,
                )
        if last.mark is not None and len(curves) == 1:
            name, at, height = last.mark
            axes.plot(at, height, "o", ms=9, color="#c2410c", zorder=3, label=name)
        if last.log:
            axes.set(xscale="log", yscale="log")
        axes.set(xlabel=last.x_label, ylabel=last.y_label)
        if last.shares:
            axes.set(xlim=(0, 1), ylim=(0, 1.02))
        axes.legend(loc="best")
        figure.savefig(target)


def importance_plot(importance: Mapping[str, float], title: str, target: Path) -> None:
    """Draw the features that reduced the loss most, as shares of the total gain."""
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
    # Not pyplot, because its global state keeps figures alive and picks a display.
    figure = Figure(figsize=(8, height), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left", fontweight="bold")
    return figure, axes


def gains_plot(
    drawn: npt.NDArray[np.float64],
    interval: tuple[float, float],
    minimum: float,
    metric: str,
    title: str,
    target: Path,
) -> None:
    """Draw the bootstrapped relative gains with their interval, zero and the winner's minimum."""
    with mpl.rc_context(STYLE):
        figure, axes = _figure(title, height=3.6)
        axes.hist(drawn, bins=60, color=COLOUR, alpha=0.75)
        axes.axvspan(
            *interval,
            color=COLOUR,
            alpha=0.12,
            label=f"interval {interval[0]:+.1%} to {interval[1]:+.1%}",
        )
        axes.axvline(0, color="black", lw=1.2)
        axes.axvline(minimum, color="#c2410c", ls="--", lw=1.2, label=f"minimum {minimum:+.1%}")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:+.1%}")
        axes.set(xlabel=f"{metric} gain, relative to the champion's", ylabel="Draws")
        axes.legend(loc="upper right")
        figure.savefig(target)
