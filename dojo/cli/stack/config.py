"""`dojo config`: edited specs."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from dojo.actions import specs
from dojo.actions.specs import Changes
from dojo.cli.context import CommandContext, Who, Why, Yes, confirm
from dojo.cli.output import JsonFlag, err, fail, out, print_json
from dojo.stack.control import StackError, restart, running
from dojo.stack.peers import look_around
from dojo.stack.table import processes

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False)


@app.command("diff")
def diff(as_json: JsonFlag = False) -> None:
    """Show what edited specs would change, and which processes still run the earlier ones.

    Exit code 1 when a spec is wrong.

    Example: [bold]dojo config diff --json[/]
    """
    with CommandContext() as here:
        changes, behind = specs.differences(here), _behind(here)
    if as_json:
        print_json({"changes": _as_json(changes), "restart": behind})
        return
    _print(changes)
    if behind:
        out.print(f"to be restarted: {', '.join(behind)}", highlight=False)


@app.command("apply")
def apply(
    why: Why,
    model: Annotated[
        str, typer.Option(metavar="MODEL", help="Refuse when another model's spec was edited too.")
    ] = "",
    who: Who = "",
    yes: Yes = False,
    as_json: JsonFlag = False,
) -> None:
    """Let edited specs take effect.

    It checks every spec, records the change, and restarts the processes that read specs. The
    gateway is restarted last and answers no request for some seconds. A retraining under way begins
    again. In containers the command prints the restart instead of doing it.

    Example: [bold]dojo config apply --why "fewer pages at night"[/]
    """
    with CommandContext() as here:
        if not as_json:
            _print(specs.differences(here))
        in_containers = bool(here.settings.peer_hosts)
        restarts = "" if in_containers else f", and restart {', '.join(_behind(here)) or 'nothing'}"
        confirm(f"Apply{restarts}?", yes)
        changes, behind = specs.apply(here, who, why, model), _behind(here)
        try:
            for name in () if in_containers else behind:
                err.print(f"restarting {name}", highlight=False)
                restart(here.settings.home, name)
        except StackError as error:
            raise fail(
                f"applied, but {error}", f"dojo logs {error.process}, then dojo config apply again"
            ) from error
    if as_json:
        print_json(
            {"changes": _as_json(changes), "restart" if in_containers else "restarted": behind}
        )
    elif not behind:
        out.print("every process runs these specs", highlight=False)
    elif in_containers:
        # A container of its own writes Prometheus' files, and its restart restarts Prometheus.
        names = ["monitoring-files" if name == "prometheus" else name for name in behind]
        out.print(
            f"next: docker compose restart {' '.join(names)}", highlight=False, soft_wrap=True
        )
    else:
        out.print(f"restarted: {', '.join(behind)}", highlight=False)


def _behind(here: CommandContext) -> list[str]:
    """Processes of the running stack that read another spec than its file has, the gateway last.

    Prometheus does not report its specs, so it goes with the others. A model that no process has
    read concerns all of them.
    """
    settings, files = here.settings, specs.hashes(here)
    stack = look_around(settings) if settings.peer_hosts else running(settings.home)
    read = (
        {
            process.name: process.details["specs"]
            for process in stack.processes
            if "specs" in process.details
        }
        if stack
        else {}
    )
    known = {model for models in read.values() for model in models}
    late = {
        name
        for name, models in read.items()
        if any(spec["read"] != files.get(model) for model, spec in models.items())
    }
    if set(files) - known:
        late |= set(read)
    readers = [spec.name for spec in reversed(processes(settings)) if spec.reads_specs]
    return [name for name in readers if name in late or (late and name == "prometheus")]


def _as_json(changes: Changes) -> dict[str, dict[str, dict[str, object]]]:
    return {
        model: {path: change._asdict() for path, change in changed.items()}
        for model, changed in changes.items()
    }


def _print(changes: Changes) -> None:
    if not changes:
        out.print("no spec was edited since it was applied", highlight=False)
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("model", "field", "applied", "file"):
        table.add_column(heading)
    for model, changed in changes.items():
        for path, change in changed.items():
            table.add_row(
                model, path, *(escape("" if value is None else str(value)) for value in change)
            )
    out.print(table)
