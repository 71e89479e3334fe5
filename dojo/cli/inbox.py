"""`dojo alerts`: what people were told."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from dojo.cli.changes import desk
from dojo.cli.output import JsonFlag, out, print_json
from dojo.inbox import KEPT, Inbox, Urgency

_COLOURS = {"info": "dim", "warning": "yellow", "page": "bold red"}


def alerts(
    urgency: Annotated[Urgency | None, typer.Option(help="Only these: read it some time, today, or now.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=KEPT, help="The newest so many.")] = 20,
    as_json: JsonFlag = False,
) -> None:
    """What people were told, newest last: how urgent, for whom, what happened, what to do.

    Example: dojo alerts --urgency page
    """
    with desk() as here:
        messages = [m for m in Inbox(here.redis).newest(KEPT if urgency else limit) if urgency in (None, m.urgency)][:limit][
            ::-1
        ]
    if as_json:
        print_json(messages)
        return
    if not messages:
        out.print("Nobody was told anything yet.", highlight=False)
        return
    for message in messages:
        when = f"{message.world_time:%Y-%m-%d %H:%M}" if message.world_time else f"{message.wall_time:%Y-%m-%d %H:%M} (wall)"
        colour = _COLOURS[message.urgency]
        head = f"{when}  [{colour}]{message.urgency}[/]  {escape(message.model)} -> {escape(message.to)}"
        out.print(f"{head}  [bold]{escape(message.title)}[/]", highlight=False, soft_wrap=True)
        for line in message.text.splitlines():
            out.print(f"    {escape(line)}", highlight=False, soft_wrap=True)
