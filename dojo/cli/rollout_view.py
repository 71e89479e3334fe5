"""A rollout as `dojo rollout show` explains it. Pure: data in, renderables out."""

from __future__ import annotations

from datetime import datetime, timedelta

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from dojo.durations import format_duration
from dojo.rollouts import Look, Rollout, Stage
from dojo.specs import ModelSpec

COLOURS = {"ok": "green", "insufficient_data": "yellow", "failed": "red"}

EXPLAINED = {
    Stage.AWAITING_APPROVAL: "waits for dojo models approve",
    Stage.SHADOW: "gets a copy of every request; nobody sees its answers",
    Stage.CANARY: "answers a small part of the customers",
    Stage.PROMOTING: "is being made champion",
    Stage.WATCH: "is champion and answers everybody; watched, the old champion warm beside it",
    Stage.DONE: "is champion; the rollout is over",
    Stage.ROLLING_BACK: "gets no traffic any more; the registry is being changed back",
    Stage.ROLLED_BACK: "was taken back; the rollout is over",
}


def explain(rollout: Rollout, spec: ModelSpec | None, now: datetime | None) -> RenderableType:
    """Where the rollout is, what each check says and why, and what happened so far."""
    parts: list[RenderableType] = [
        f"[bold]{rollout.model} version {rollout.version}[/] against champion {rollout.champion}, by {escape(rollout.who)}: {escape(rollout.why)}",
        f"[bold]{rollout.stage}[/]{' [yellow](paused)[/]' if rollout.paused else ''}: version {rollout.version} {EXPLAINED[rollout.stage]}",
    ]
    if timing := _timing(rollout, spec, now):
        parts.append(timing)
    if rollout.request is not None:
        parts.append(f"[yellow]asked by {escape(rollout.request.who)}, not taken yet: {rollout.request.action}[/]")
    if rollout.looks:
        parts.append(_looks(rollout.looks))
    parts.append(_history(rollout))
    return Group(*parts)


def summary(rollout: Rollout) -> tuple[str, str, str, str, str, str]:
    """model, version, champion, stage, world time of the last step, why: a line of `dojo rollout list`."""
    last = rollout.history[-1]
    stage = f"{rollout.stage}{' (paused)' if rollout.paused else ''}"
    return rollout.model, rollout.version, rollout.champion, stage, f"{last.world_time:%Y-%m-%d %H:%M}", escape(last.why)


def _timing(rollout: Rollout, spec: ModelSpec | None, now: datetime | None) -> str:
    if not rollout.active or now is None or spec is None:
        return ""
    policy = spec.rollout
    least = {Stage.SHADOW: policy.shadow_time, Stage.CANARY: policy.canary_time, Stage.WATCH: policy.watch_time}.get(
        rollout.stage
    )
    if least is None:
        return ""
    if rollout.stage_since is None:
        return f"no traffic follows its route yet; then at least {format_duration(least)} of world time"
    passed = max(now - rollout.stage_since, timedelta(0))
    return f"{passed.total_seconds() / 3600:.1f} h of at least {least.total_seconds() / 3600:g} h of world time have passed"


def _looks(looks: tuple[Look, ...]) -> Table:
    table = Table(title="Checks", title_justify="left")
    for heading, right in (
        ("check", 0),
        ("verdict", 0),
        ("measured", 1),
        ("limit", 1),
        ("requests", 1),
        ("evidence", 1),
        ("what", 0),
    ):
        table.add_column(heading, justify="right" if right else "left", overflow="fold")
    for look in looks:
        evidence = "-" if look.evidence is None or look.stops_at is None else f"{look.evidence:.3g} of {look.stops_at:.3g}"
        what = f"{look.measures}{f' ({look.note})' if look.note else ''}"
        table.add_row(
            look.check,
            f"[{COLOURS[look.verdict]}]{look.verdict}[/]",
            look.shown(look.value),
            look.shown(look.limit),
            f"{look.requests:,} of {look.needed:,}" if look.requests < look.needed else f"{look.requests:,}",
            evidence,
            escape(what),
        )
    table.caption = "evidence: the e-value, and the one that rolls back. How likely chance is to get there, however often one looks: 1 / that."
    table.caption_justify = "left"
    return table


def _history(rollout: Rollout) -> Table:
    table = Table(title="History (world time)", title_justify="left")
    for heading in ("when", "step", "who", "why"):
        table.add_column(heading, overflow="fold")
    for step in rollout.history:
        label = str(step.after) if step.before != step.after else f"{step.after} (stays)"
        table.add_row(f"{step.world_time:%Y-%m-%d %H:%M}", label, escape(step.who), escape(step.why))
    return table
