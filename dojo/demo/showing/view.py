"""How the demo looks: a compact live panel, and the summary at its end.

Pure: data in, renderables out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dojo.core.severity import marked
from dojo.core.state.freshness import ViewFreshness
from dojo.demo.showing.tally import Snapshot


@dataclass(frozen=True, slots=True)
class Frame:
    """The content of one frame."""

    world: datetime
    start: datetime
    end: datetime
    speed: float
    per_second: float  # predictions per wall second, over the latest few seconds
    tally: Snapshot
    freshness: Mapping[str, ViewFreshness]
    model_age: timedelta | None


def render(look: Frame) -> RenderableType:
    done = (look.world - look.start) / (look.end - look.start)
    header = Table.grid(expand=True, padding=(0, 1))
    header.add_column(no_wrap=True)
    header.add_column(ratio=1)
    header.add_column(justify="right", no_wrap=True)
    header.add_row(
        Text(f"{look.world:%a %Y-%m-%d %H:%M}", style="bold"),
        ProgressBar(total=1.0, completed=min(max(done, 0.0), 1.0)),
        Text(f"{look.speed:g} world s per s", style="dim"),
    )
    return Panel(
        Group(
            header,
            Columns([_traffic(look), _outcomes(look.tally), _freshness(look)], padding=(0, 4)),
        ),
        title="MLOps Dojo, live",
        border_style="cyan",
    )


def line(look: Frame) -> str:
    """One frame as one line, for terminals that cannot redraw."""
    t = look.tally
    return (
        f"{look.world:%m-%d %H:%M}  {t.predictions:,} answers ({look.per_second:.0f}/s, p99"
        f" {_ms(t.p99_ms)}), {t.labelled:,} labels: fraud caught {t.caught} ({t.caught_euro:,.0f}"
        f" €), missed {t.missed} ({t.missed_euro:,.0f} €)"
    )


def summary(
    tally: Snapshot, seconds: Mapping[str, float], offline: Mapping[str, Mapping[str, float]]
) -> RenderableType:
    """The demo's measured values, a column per version: holdout figures and live results.

    Args:
        seconds: Seconds of each step by its title, where they were not shown yet.
        offline: Holdout metrics by name, for each version.
    """
    versions = sorted({*tally.by_version, *offline}, key=lambda v: (len(v), v))
    live = tally.by_version
    table = Table(
        title="What was measured", title_justify="left", show_header=True, header_style="bold"
    )
    table.add_column("figure")
    for version in versions:
        table.add_column(f"version {version}" if version != "0" else "fallback", justify="right")

    def row(name: str, text: Callable[[str], str]) -> None:
        table.add_row(name, *(text(version) for version in versions))

    row("holdout: PR-AUC", lambda v: _number(offline.get(v, {}).get("pr_auc")))
    row(
        "holdout: precision at 1 % FPR",
        lambda v: _percent(offline.get(v, {}).get("precision_at_1pct_fpr")),
    )
    row(
        "holdout: recall at 50 % precision",
        lambda v: _percent(offline.get(v, {}).get("recall_at_50pct_precision")),
    )
    table.add_section()
    row("live: predictions", lambda v: f"{live[v].predictions:,}" if v in live else "0")
    row(
        "live: fraud caught / missed so far",
        lambda v: f"{live[v].caught} / {live[v].missed}" if v in live else "-",
    )
    row(
        "live: euro caught / missed so far",
        lambda v: f"{live[v].caught_euro:,.0f} / {live[v].missed_euro:,.0f}" if v in live else "-",
    )
    row("live: catch rate", lambda v: _percent(live[v].catch_rate) if v in live else "-")
    row(
        "live: false-positive rate",
        lambda v: _percent(live[v].false_positive_rate) if v in live else "-",
    )
    table.add_section()
    totals = {
        "labelled so far": f"{tally.labelled:,} of {tally.predictions:,}",
        "latency p50 / p99": f"{_ms(tally.p50_ms)} / {_ms(tally.p99_ms)}",
        "degraded answers": (
            ", ".join(f"{k} {n:,}" for k, n in sorted(tally.degraded.items())) or "none"
        ),
    }
    if seconds:
        totals["seconds"] = "\n".join(f"{title}: {s:.1f}" for title, s in seconds.items())
    figures = Table(show_header=False)
    for name, text in totals.items():
        figures.add_row(name, text)
    return Group(table, figures)


def _traffic(look: Frame) -> RenderableType:
    t = look.tally
    rows = {
        "predictions": f"{t.predictions:,}",
        "per second": f"{look.per_second:.0f}",
        "latency p50": _ms(t.p50_ms),
        "latency p99": _ms(t.p99_ms),
        "flagged": f"{t.flagged:,}",
        **{f"degraded: {reason}": f"{count:,}" for reason, count in sorted(t.degraded.items())},
    }
    return _block("Traffic", rows)


def _outcomes(t: Snapshot) -> RenderableType:
    return _block(
        "Outcomes so far",
        {
            "labels arrived": f"{t.labelled:,}",
            "fraud caught": f"[green]{t.caught}[/]  {t.caught_euro:,.0f} €",
            "fraud missed": f"[red]{t.missed}[/]  {t.missed_euro:,.0f} €",
            "catch rate": _percent(t.catch_rate),
            "false-positive rate": _percent(t.false_positive_rate),
            "PR-AUC": _number(t.pr_auc),
        },
    )


def _freshness(look: Frame) -> RenderableType:
    rows = {}
    for name, view in sorted(look.freshness.items()):
        sla = timedelta(seconds=view.sla_seconds)
        rows[name] = (
            f"{marked(view.state(look.world))} [dim]{_age(view.age(look.world))} of {_age(sla)}[/]"
        )
    if not rows:
        rows["features"] = marked("insufficient_data")
    rows["model's data"] = (
        _age(look.model_age) + " old" if look.model_age is not None else "no champion"
    )
    return _block("Freshness", rows)


def _block(title: str, rows: Mapping[str, str]) -> RenderableType:
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        show_header=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column(style="dim")
    table.add_column(justify="left")
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _number(value: float | None) -> str:
    return "insufficient data" if value is None else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return "insufficient data" if value is None else f"{value:.1%}"


def _ms(value: float | None) -> str:
    return "no data" if value is None else f"{value:.1f} ms"


def _age(value: timedelta) -> str:
    hours = value.total_seconds() / 3600
    return (
        f"{hours * 60:.0f} min"
        if abs(hours) < 1
        else f"{hours:.1f} h"
        if hours < 48
        else f"{hours / 24:.1f} d"
    )
