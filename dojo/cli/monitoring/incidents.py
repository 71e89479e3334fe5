"""`dojo incidents`: troubles that people were told of, and who has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from dojo.cli.context import CommandContext, Who, Why, operating_system_user
from dojo.cli.output import JsonFlag, fail, out, print_json
from dojo.core.severity import marked
from dojo.core.state.inbox import KEPT, Inbox

if TYPE_CHECKING:
    from dojo.core.state.incidents import TeamIncident

app = typer.Typer(no_args_is_help=True)

IncidentId = Annotated[
    str,
    typer.Argument(help="`dojo incidents list` has them. `latest` is the newest.", metavar="ID"),
]
LATEST = "latest"


@app.command("list")
def show_all(
    all_of_them: Annotated[bool, typer.Option("--all", help="Those that are over, too.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Number of newest incidents.")] = 20,
    as_json: JsonFlag = False,
) -> None:
    """Show the open incidents, the newest last: since when, for whom, and who has them.

    Example: [bold]dojo incidents list --all[/]
    """
    with CommandContext() as here:
        known = _known(here)
    chosen = [one for one in known if all_of_them or one.resolved is None]
    chosen = chosen[-limit:]
    if as_json:
        print_json(chosen)
        return
    if not chosen:
        out.print("no open incident: dojo incidents list --all", highlight=False)
        return
    table = Table()
    for name in ("id", "told (UTC)", "state", "for", "has it", "what"):
        table.add_column(name, overflow="fold")
    for one in chosen:
        word = one.urgency if one.resolved is None else "resolved"
        table.add_row(
            one.id, f"{one.told:%m-%d %H:%M:%S}", marked(word), one.to, _holder(one),
            escape(one.title),
        )  # fmt: skip
    out.print(table)


def _holder(one: TeamIncident) -> str:
    handled = one.handled
    if handled is None:
        return "-"
    given = [handled.assigned] if handled.assigned else []
    seen = [f"seen by {handled.by}"] if handled.by else []
    return escape(", ".join(given + seen))


@app.command()
def ack(name: IncidentId, as_json: JsonFlag = False) -> None:
    """Acknowledge an incident: you have seen it, and look into it.

    Example: [bold]dojo incidents ack latest[/]
    """
    from dojo.core.state.incidents import IncidentBook

    with CommandContext() as here:
        found = _find(here, name)
        who = operating_system_user()
        new = IncidentBook(here.redis).acknowledge(found, who, here.now_if_set())
    _say(found, "acknowledged" if new else "acknowledged before, and stays so", as_json)


@app.command()
def assign(
    name: IncidentId,
    to: Annotated[str, typer.Argument(help="A person or a team.", metavar="WHOM")],
    why: Why,
    who: Who = "",
    as_json: JsonFlag = False,
) -> None:
    """Give an incident to a person or a team.

    Example: [bold]dojo incidents assign latest payments-risk --why "their upstream"[/]
    """
    from dojo.core.state.incidents import IncidentBook

    if not to.strip():
        raise fail("WHOM is empty", "name a person or a team", 2)
    with CommandContext() as here:
        found = _find(here, name)
        new = IncidentBook(here.redis).assign(found, to.strip(), who, why, here.now_if_set())
    _say(found, f"given to {to}" if new else f"{to} has it already", as_json)


def _known(here: CommandContext) -> list[TeamIncident]:
    from dojo.core.state.incidents import IncidentBook, incidents

    return incidents(Inbox(here.redis).newest(KEPT), IncidentBook(here.redis).handled())


def _find(here: CommandContext, name: str) -> TeamIncident:
    known = _known(here)
    if name == LATEST and known:
        return known[-1]
    found = [one for one in known if one.id == name]
    if not found:
        raise fail(f"no incident {name!r}", "dojo incidents list --all")
    return found[0]


def _say(found: TeamIncident, said: str, as_json: bool) -> None:
    if as_json:
        print_json({"incident": found.id, "said": said})
    else:
        out.print(f"{found.id}: {said}. {escape(found.title)}", highlight=False, soft_wrap=True)
