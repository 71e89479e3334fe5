"""`dojo audit`: who changed what and why, and whether the record is unchanged."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import msgspec
import typer
from rich.markup import escape
from rich.table import Table

from dojo.cli.context import CommandContext
from dojo.cli.output import JsonFlag, err, fail, out, print_json
from dojo.core.registry.errors import RegistryUnavailableError
from dojo.core.registry.promotion import anchors
from dojo.core.state.audit import Entry, Kind

app = typer.Typer(no_args_is_help=True)


@app.command("list")
def list_(
    model: Annotated[str, typer.Option(help="Only this model's.", metavar="MODEL")] = "",
    kind: Annotated[Kind | None, typer.Option(help="Only changes of this kind.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Number of newest entries.")] = 20,
    as_json: JsonFlag = False,
) -> None:
    """Changes, newest last: when (world time), who, what, why.

    Example: dojo audit list --model fraud_detection --kind alias
    """
    with CommandContext() as here:
        newest = (
            entry
            for entry in here.audit.entries(newest_first=True)
            if (not model or entry.model == model) and (kind is None or entry.kind == kind)
        )
        entries = list(islice(newest, limit))[::-1]
    if as_json:
        print_json(entries)
        return
    if not entries:
        out.print("Nothing was changed yet.", highlight=False)
        return
    for entry in entries:
        head = (
            f"[bold]{entry.sequence}[/]  {_when(entry)}  {entry.kind}  {escape(entry.model)} "
            f" {escape(entry.who)}"
        )
        out.print(f"{head}  [bold]{escape(entry.what)}[/]", highlight=False, soft_wrap=True)
        for line in entry.why.splitlines():
            out.print(f"    {escape(line)}", highlight=False, soft_wrap=True)


@app.command()
def show(
    number: Annotated[
        int,
        typer.Argument(
            min=1, help="The entry's number, as `dojo audit list` shows it.", metavar="N"
        ),
    ],
    as_json: JsonFlag = False,
) -> None:
    """One change with its state before and after, and its place in the chain.

    Example: dojo audit show 12
    """
    with CommandContext() as here:
        entry = here.audit.get(number)
        if entry is None:
            raise fail(
                f"there is no readable entry {number}", "dojo audit list, or dojo audit verify"
            )
    if as_json:
        print_json({**msgspec.to_builtins(entry), "hash": entry.hash})
        return
    table = Table(title=f"audit entry {number}", title_justify="left", show_header=False)
    table.add_row("when (world)", _when(entry))
    table.add_row("written (wall)", f"{entry.wall_time:%Y-%m-%d %H:%M:%S} UTC")
    for name in ("kind", "model", "who", "what", "why"):
        table.add_row(name, escape(getattr(entry, name)))
    for name in ("before", "after"):
        table.add_row(
            name,
            escape(
                msgspec.json.format(msgspec.json.encode(getattr(entry, name)), indent=2).decode()
            ),
        )
    table.add_row("id", escape(entry.entry_id))
    table.add_row("hash", entry.hash)
    table.add_row("follows", entry.previous)
    out.print(table)


@app.command()
def verify(as_json: JsonFlag = False) -> None:
    """Check the whole chain against the anchors that the platform and the registry hold.

    Exit code 1 when anything was changed or is missing.

    Example: dojo audit verify
    """
    with CommandContext() as here:
        # They are read before the chain. An anchor is written after its entry, so none of these can
        # be newer than the chain.
        try:
            remembered, missing = anchors(here.registry), ""
        except RegistryUnavailableError as error:
            remembered, missing = {}, str(error)
        found = here.audit.verify(remembered, here.registry.seals.anchors())
    if as_json:
        print_json(
            {
                "entries": found.entries,
                "recorded": found.recorded,
                "anchors": found.anchors,
                "without_registry": bool(missing),
                "faults": found.faults,
            }
        )
    else:
        if missing:
            err.print(
                f"[bold]note[/]  the registry's anchors were not checked: {escape(missing)}",
                highlight=False,
                soft_wrap=True,
            )
        for fault in found.faults:
            out.print(escape(fault), highlight=False, soft_wrap=True)
        verdict = f"{len(found.faults)} faults" if found.faults else "as they were written"
        against = (
            f"{found.recorded} anchors that the platform recorded and {found.anchors} in the"
            " registry"
        )
        out.print(f"{found.entries} entries, against {against}: {verdict}", highlight=False)
    if found.faults:
        raise typer.Exit(1)


def _when(entry: Entry) -> str:
    return f"{entry.world_time:%Y-%m-%d %H:%M}" if entry.world_time else "-"
