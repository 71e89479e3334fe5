"""A rollout as `dojo rollout show` explains it. Pure: data in, renderables out."""

from __future__ import annotations

from datetime import datetime

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.text import Text

from dojo.core.judging.rollout.stages import CheckResult, Stage
from dojo.core.severity import appearance_of, drawn
from dojo.core.spec.durations import format_duration
from dojo.core.spec.schema import ModelSpec
from dojo.core.state.error_budget import STOPPED
from dojo.core.state.rollouts import Rollout

VERDICT_COLUMN = 1

EXPLAINED = {
    Stage.AWAITING_APPROVAL: "waits for dojo rollout approve",
    Stage.SHADOW: "gets a copy of every request; its answers are only compared",
    Stage.CANARY: "answers a small part of the traffic",
    Stage.PROMOTING: "is being made champion",
    Stage.WATCH: "is champion and answers all traffic, on watch; the old champion stays warm",
    Stage.DONE: "is champion; the rollout is over",
    Stage.ROLLING_BACK: "gets no traffic any more; the registry is being changed back",
    Stage.ROLLED_BACK: "was taken back; the rollout is over",
}


def explain(rollout: Rollout, spec: ModelSpec | None, now: datetime | None) -> RenderableType:
    """Where the rollout is, what each check says and why, and what happened so far."""
    parts: list[RenderableType] = [
        (
            f"[bold]{rollout.model} version {rollout.version}[/] against champion"
            f" {rollout.champion}, by {escape(rollout.who)}: {escape(rollout.why)}"
        ),
        (
            f"[bold]{rollout.stage}[/]{' [yellow](paused)[/]' if rollout.paused else ''}: version"
            f" {rollout.version} {EXPLAINED[rollout.stage]}"
        ),
    ]
    if rollout.budget == "waits":
        parts.append(
            f"[yellow]{STOPPED}[/], until it is back, or dojo rollout resume {rollout.model}"
            " --why ..."
        )
    if timing := _timing(rollout, spec, now):
        parts.append(timing)
    if rollout.request is not None:
        parts.append(
            f"[yellow]asked by {escape(rollout.request.who)}, not taken yet:"
            f" {rollout.request.action}[/]"
        )
    if rollout.looks:
        parts.append(_looks(rollout.looks))
    parts.append(_history(rollout))
    return Group(*parts)


def summary(rollout: Rollout) -> tuple[str, str, str, str, str, str]:
    """One line of `dojo rollout list`.

    Its cells are model, version, champion, stage, world time of the last step, and why.
    """
    last = rollout.history[-1]
    stage = f"{rollout.stage}{' (paused)' if rollout.paused else ''}"
    if rollout.budget == "waits":
        stage = f"{stage} ({STOPPED})"
    return (
        rollout.model,
        rollout.version,
        rollout.champion,
        stage,
        f"{last.world_time:%Y-%m-%d %H:%M}",
        escape(last.why),
    )


def _timing(rollout: Rollout, spec: ModelSpec | None, now: datetime | None) -> str:
    if not rollout.active or now is None or spec is None:
        return ""
    policy = spec.rollout
    least = {
        Stage.SHADOW: policy.shadow_time,
        Stage.CANARY: policy.canary_time,
        Stage.WATCH: policy.watch_time,
    }.get(rollout.stage)
    if least is None:
        return ""
    if rollout.stage_since is None:
        return (
            f"no traffic follows its route yet; then at least {format_duration(least)} of world"
            " time"
        )
    passed = next(
        (look.value for look in rollout.looks if look.check == "time" and look.value is not None),
        0.0,
    )
    return (
        f"{passed / 3600:.1f} h of at least {least.total_seconds() / 3600:g} h of world time with"
        " traffic have passed"
    )


def _looks(looks: tuple[CheckResult, ...]) -> RenderableType:
    """Two lines a check: its figures, 80 columns wide, and below them what was measured."""
    rows = [
        ("check", "verdict", "measured", "limit", "requests", "evidence"),
        *(_figures(look) for look in looks),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines: list[RenderableType] = [Text("Checks", style="bold italic")]
    for row, look in zip(rows, (None, *looks), strict=True):
        line = Text(no_wrap=True, overflow="ellipsis")
        for column, (text, width) in enumerate(zip(row, widths, strict=True)):
            style = (
                "bold"
                if look is None
                else appearance_of(look.verdict).style
                if column == VERDICT_COLUMN
                else ""
            )
            line.append(
                text.ljust(width) if column <= VERDICT_COLUMN else text.rjust(width), style
            ).append("  ")
        lines.append(line)
        if look is not None:
            lines.append(
                Padding(
                    Text(f"{look.measures}{f' ({look.note})' if look.note else ''}", style="dim"),
                    (0, 0, 0, 4),
                )
            )
    caption = (
        "evidence: the e-value, and the limit that rolls back. Chance alone reaches the"
        " limit with a probability of at most 1 / limit, over all looks together."
    )
    return Group(*lines, Text(caption, style="dim italic"))


def _figures(look: CheckResult) -> tuple[str, ...]:
    requests = (
        f"{look.requests:,} of {look.needed:,}"
        if look.requests < look.needed
        else f"{look.requests:,}"
    )
    evidence = (
        "-"
        if look.evidence is None or look.stops_at is None
        else f"{look.evidence:.2g} of {look.stops_at:.3g}"
    )
    return (
        look.check,
        drawn(look.verdict),
        look.shown(look.value),
        look.shown(look.limit),
        requests,
        evidence,
    )


def _history(rollout: Rollout) -> RenderableType:
    lines: list[RenderableType] = [Text("History (world time)", style="bold italic")]
    for step in rollout.history:
        label = str(step.after) if step.before != step.after else f"{step.after} (stays)"
        lines.append(
            Text.assemble(
                f"{step.world_time:%Y-%m-%d %H:%M}  ", (label, "bold"), f"  by {step.who}"
            )
        )
        lines.append(Padding(Text(step.why), (0, 0, 0, 4)))
    return Group(*lines)
