"""The view of a running rollout. Pure: data in, renderables out."""

from __future__ import annotations

from datetime import datetime

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from dojo.core.judging.rollout.stages import CheckResult, Stage
from dojo.core.severity import marked
from dojo.core.state.rollouts import Rollout
from dojo.demo.showing.tally import Snapshot

WAY = (Stage.SHADOW, Stage.CANARY, Stage.PROMOTING, Stage.WATCH, Stage.DONE)


def render(rollout: Rollout, world: datetime, tally: Snapshot, per_second: float) -> RenderableType:
    """One frame: the challenger's stage, the result of each check, and the traffic."""
    header = Table.grid(expand=True, padding=(0, 1))
    header.add_column(no_wrap=True)
    header.add_column(ratio=1)
    header.add_column(justify="right", no_wrap=True)
    header.add_row(
        Text(f"{world:%a %Y-%m-%d %H:%M}", style="bold"),
        _way(rollout),
        Text(f"{per_second:.0f} predictions/s", style="dim"),
    )
    return Panel(
        Group(header, Columns([_checks(rollout.looks), _versions(tally)], padding=(0, 4))),
        title=(
            f"Rollout of {rollout.model} version {rollout.version} (champion: {rollout.champion})"
        ),
        border_style="cyan",
    )


def line(rollout: Rollout, world: datetime, tally: Snapshot) -> str:
    """One frame as one line, for terminals that cannot redraw."""
    fine = sum(look.verdict == "ok" for look in rollout.looks)
    versions = ", ".join(
        f"version {version} {seen.predictions:,}" for version, seen in tally.by_version.items()
    )
    return (
        f"{world:%m-%d %H:%M}  {rollout.stage}: {fine} of {len(rollout.looks)} checks are ok;"
        f" answers so far: {versions}"
    )


def _way(rollout: Rollout) -> Text:
    text = Text()
    if rollout.stage in WAY:
        reached = WAY.index(rollout.stage)
        for at, stage in enumerate(WAY):
            style = "bold cyan" if at == reached else "green" if at < reached else "dim"
            text.append(("" if at == 0 else " > ") + stage, style=style)
    else:
        text.append(
            rollout.stage,
            style=(
                "bold red"
                if rollout.stage in (Stage.ROLLING_BACK, Stage.ROLLED_BACK)
                else "bold yellow"
            ),
        )
    return text


def _checks(looks: tuple[CheckResult, ...]) -> RenderableType:
    table = Table(
        title="Checks", title_justify="left", title_style="bold", box=None, padding=(0, 1, 0, 0)
    )
    for heading in ("check", "verdict", "value", "limit", "requests"):
        table.add_column(
            heading,
            style="dim" if heading == "check" else "",
            justify="left" if heading in ("check", "verdict") else "right",
        )
    for look in looks:
        table.add_row(
            look.check,
            marked(look.verdict),
            _number(look.value),
            _number(look.limit),
            f"{look.requests:,}",
        )
    return table


def _versions(tally: Snapshot) -> RenderableType:
    table = Table(
        title="Who answered",
        title_justify="left",
        title_style="bold",
        box=None,
        padding=(0, 1, 0, 0),
    )
    for heading in ("version", "answers", "fraud caught", "missed", "catch rate"):
        table.add_column(heading, justify="right")
    for version, seen in tally.by_version.items():
        rate = "-" if seen.catch_rate is None else f"{seen.catch_rate:.0%}"
        table.add_row(
            version,
            f"{seen.predictions:,}",
            f"[green]{seen.caught}[/]",
            f"[red]{seen.missed}[/]",
            rate,
        )
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
