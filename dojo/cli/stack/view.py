"""The stack as tables."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec
from rich.markup import escape
from rich.table import Table

from dojo.cli.output import out
from dojo.core.severity import marked
from dojo.core.spec.durations import format_duration
from dojo.core.state.clock import wall_now
from dojo.stack.observability.installed import how_to_install
from dojo.stack.overview import UNKNOWN, Overview, StackState
from dojo.stack.status import ProcessStatus, StackStatus
from dojo.stack.supervisor.lifecycle import ProcessState

_NEXT_STEPS = (
    ("dojo demo", "history, training, traffic and late outcomes, shown live"),
    ("dojo status", "what runs, and how it is"),
    ("dojo logs -f", "what it says"),
    ("dojo down", "stop everything"),
)


def megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"


def elapsed(since: datetime, now: datetime) -> str:
    """`42s`, `5m 10s`, `3h 20m`, `2d 4h`: the two largest units."""
    seconds = max(0, int((now - since).total_seconds()))
    parts = [
        (seconds // 86400, "d"),
        (seconds // 3600 % 24, "h"),
        (seconds // 60 % 60, "m"),
        (seconds % 60, "s"),
    ]
    first = next((i for i, (amount, _) in enumerate(parts) if amount), len(parts) - 1)
    return " ".join(
        f"{amount}{unit}"
        for amount, unit in parts[first : first + 2]
        if amount or first == len(parts) - 1
    )


def said(details: dict[str, Any]) -> str:
    """`lag=0 last_write=...`: a process' own report in one line."""
    return " ".join(
        f"{k}={v if isinstance(v, str) else msgspec.json.encode(v).decode()}"
        for k, v in details.items()
    )


class StateChanges:
    """A progress callback that prints a line when a process changes its state.

    It is for output without a terminal.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._seen: dict[str, ProcessState] = {}

    def __call__(self, status: StackStatus) -> None:
        for process in status.processes:
            if self._seen.get(process.name) is not process.state:
                self._seen[process.name] = process.state
                self._write(f"{process.name}: {process.state}")


def starting_table(status: StackStatus) -> Table:
    now = wall_now()
    table = Table(box=None, show_header=False)
    for process in status.processes:
        since = elapsed(
            status.started if process.state is ProcessState.STARTING else process.since, now
        )
        table.add_row(
            process.name,
            marked(process.state),
            since if process.state is not ProcessState.HEALTHY else "",
            _deaths(process),
        )
    return table


def _deaths(process: ProcessStatus) -> str:
    return f"died {process.deaths} times" if process.deaths else ""


def print_started(status: StackStatus, already: bool) -> None:
    processes = f"{len(status.processes)} processes" + (
        f", {megabytes(status.memory_bytes)}" if status.supervisor else ""
    )
    out.print(f"The stack {_start(status, already)}: {processes}.", highlight=False)
    table = Table(box=None, show_header=False)
    for process in status.processes:
        docs = "/docs" if process.name == "gateway" else ""
        grpc = "".join(f", gRPC on port {port}" for port in process.further_ports)
        table.add_row(process.name, marked(process.state), f"{process.address}{docs}{grpc}")
    out.print(table)
    for command, purpose in _NEXT_STEPS:
        out.print(f"  [bold]{command:<14}[/] {purpose}", highlight=False)


def _start(status: StackStatus, already: bool) -> str:
    if already:
        return "already runs"
    if not status.healthy:
        return "is starting"
    return (
        "was healthy after"
        f" {max((p.since - status.started).total_seconds() for p in status.processes):.0f} s"
    )


def print_status(overview: Overview) -> None:
    now = wall_now()
    table = Table(box=None, pad_edge=False)
    for heading in ("process", "state", "pid", "up", "restarts", "memory", "port"):
        table.add_column(
            heading,
            justify="right" if heading in ("pid", "restarts", "memory", "port") else "left",
            no_wrap=True,
        )
    for process in overview.stack.processes:
        table.add_row(
            process.name,
            marked(process.state),
            str(process.id.pid) if process.id else "",
            elapsed(process.started, now) if process.started else "",
            str(process.restarts) if process.started else "",
            megabytes(process.memory_bytes) if process.memory_bytes else "",
            process.ports,
        )
    supervisor = overview.stack.supervisor
    if supervisor is not None:
        memory = megabytes(overview.stack.supervisor_memory_bytes)
        table.add_row(
            "supervisor",
            "",
            str(supervisor.pid),
            elapsed(overview.stack.started, now),
            "",
            memory,
            "",
        )
        table.add_row(
            "[bold]together[/]",
            "",
            "",
            "",
            "",
            f"[bold]{megabytes(overview.stack.memory_bytes)}[/]",
            "",
        )
    out.print(table)
    for process in overview.stack.processes:
        if process.details:
            # One line each, cut at the terminal's edge; `--json` has all of it.
            out.print(
                f"{process.name:<13}[dim]{escape(said(process.details))}[/]",
                highlight=False,
                no_wrap=True,
                overflow="ellipsis",
            )
        if process.override:
            out.print(f"{'override':<13}{process.name}: {escape(process.override)}", soft_wrap=True)
        if process.deaths:
            again = f"died {process.deaths} times, last: {process.last_end}"
            out.print(f"{'ended':<13}{process.name}: {escape(again)}", highlight=False)
    out.print(f"{'world':<13}{world_line(overview.world, now)}", highlight=False)
    if overview.lost:
        out.print(
            f"{'state':<13}{marked('lost')}: {escape(overview.lost)}",
            highlight=False,
            soft_wrap=True,
        )
    for view, fresh in overview.features.items():
        sla = format_duration(timedelta(seconds=fresh.sla_seconds))
        age = elapsed(fresh.as_of, overview.world.time) if overview.world else ""
        out.print(
            f"{'features':<13}{view}: {marked(fresh.state)}, {age} old (SLA {sla})", highlight=False
        )
    for model, version in overview.champions.items():
        out.print(
            f"{'champion':<13}{model}:"
            f" {champion_line(model, version, overview.serving.get(model, ''))}",
            highlight=False,
        )
    for model, faults in overview.registry.items():
        for fault in faults:
            out.print(
                f"{'registry':<13}{model}: [yellow]{escape(str(fault))}[/]",
                highlight=False,
                soft_wrap=True,
            )
    for model, wrong in overview.left_out.items():
        words = f"{marked('left out')}, its spec is {escape(wrong)}"
        out.print(f"{'spec':<13}{model}: {words}", highlight=False, soft_wrap=True)
    for model, processes in overview.specs.items():
        edited = f"{marked('edited')} since the start of {', '.join(processes)}: dojo config diff"
        out.print(f"{'spec':<13}{model}: {edited}", highlight=False, soft_wrap=True)
    if overview.airflow is not None:
        password = (
            f"password {overview.airflow.password}"
            if overview.airflow.password
            else "password not known here"
        )
        known = f"user {overview.airflow.user}, {password}"
        out.print(
            f"{'airflow':<13}{overview.airflow.url} ({escape(known)})",
            highlight=False,
            soft_wrap=True,
        )
    if overview.alerts_off:
        out.print(
            f"{'alerts':<13}{marked('off')}: {escape(overview.alerts_off)}",
            highlight=False,
            soft_wrap=True,
        )
        if "not installed" in overview.alerts_off:
            out.print(f"{'':<13}{escape(how_to_install())}", highlight=False, soft_wrap=True)


def champion_line(model: str, champion: str | None, serving: str) -> str:
    """The champion, and which version answers where this is another one.

    The arguments are as in `Overview`. `serving` is "" without a route.
    """
    answers = f"version {serving} answers"
    if champion == UNKNOWN:
        return "MLflow does not answer" + (f"; {answers}" if serving else "")
    if champion is None:
        none = f"[yellow]none in the registry, and {answers}: dojo routes show {model}[/]"
        return none if serving else f"no version yet: dojo train {model}"
    return f"version {champion}" + (
        f"; {answers}: dojo routes show {model}" if serving not in ("", champion) else ""
    )


def world_line(world: StackState | None, now: datetime) -> str:
    """World time, and how it moves. `now` is wall time."""
    if world is None:
        return "no time yet: dojo data history"
    if world.standstill_seconds:
        lasted = elapsed(now - timedelta(seconds=world.standstill_seconds), now)
        pace = (
            f"[red]stands still[/] for {lasted}: the simulator does not move it, dojo logs"
            " simulator"
        )
    else:
        pace = (
            f"{world.speed:g} world seconds a second"
            if world.speed
            else "paused: dojo world resume"
        )
    return f"{world.time:%Y-%m-%d %H:%M} UTC, {pace}"
