"""`dojo snapshot`: keep a stopped stack's state, and go back to it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from dojo.cli.context import CommandContext
from dojo.cli.output import JsonFlag, errors_become_messages, out, print_json

app = typer.Typer(no_args_is_help=True)

SnapshotName = Annotated[str, typer.Argument(help="Small letters, digits and -.", metavar="NAME")]


@app.command()
def save(name: SnapshotName, as_json: JsonFlag = False) -> None:
    """Copy the home of the stopped stack: its world, models, features and records.

    Example: [bold]dojo down; dojo snapshot save two-weeks; dojo up[/]
    """
    from dojo.stack import snapshots

    with CommandContext() as here, errors_become_messages(snapshots.SnapshotError):
        made = snapshots.save(here.settings.home, name)
    if as_json:
        print_json(asdict(made))
    else:
        out.print(f"saved {name}, {_size(made.bytes)}", highlight=False)


@app.command()
def load(
    name: SnapshotName,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before deleting.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Bring a snapshot back. The home as it is now is deleted.

    Example: [bold]dojo down; dojo snapshot load two-weeks --yes; dojo up[/]
    """
    from dojo.stack import snapshots

    with CommandContext() as here, errors_become_messages(snapshots.SnapshotError):
        home = here.settings.home
        if not yes and home.exists():
            typer.confirm(f"Replace {home.resolve()} by the snapshot {name}?", abort=True)
        snapshots.load(home, name)
    if as_json:
        print_json({"loaded": name})
    else:
        out.print(f"loaded {name}: dojo up", highlight=False)


@app.command()
def remove(name: SnapshotName, as_json: JsonFlag = False) -> None:
    """Delete a snapshot.

    Example: [bold]dojo snapshot remove two-weeks[/]
    """
    from dojo.stack import snapshots

    with CommandContext() as here, errors_become_messages(snapshots.SnapshotError):
        snapshots.remove(here.settings.home, name)
    if as_json:
        print_json({"removed": name})
    else:
        out.print(f"removed {name}", highlight=False)


@app.command("list")
def show_all(as_json: JsonFlag = False) -> None:
    """Show all snapshots, the oldest first.

    Example: [bold]dojo snapshot list[/]
    """
    from rich.table import Table

    from dojo.stack import snapshots

    with CommandContext() as here:
        found = snapshots.snapshots(here.settings.home)
    if as_json:
        print_json([asdict(one) for one in found])
        return
    table = Table("snapshot", "made", "size")
    for one in found:
        table.add_row(one.name, f"{one.made:%Y-%m-%d %H:%M}", _size(one.bytes))
    out.print(table if found else "no snapshot: dojo snapshot save NAME", highlight=False)


def _size(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"
