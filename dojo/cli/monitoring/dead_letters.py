"""`dojo dead-letters`: what services set aside."""

from __future__ import annotations

from typing import Annotated, get_args

import typer
from rich.markup import escape
from rich.table import Table

from dojo.cli.context import CommandContext
from dojo.cli.output import JsonFlag, out, print_json
from dojo.core.events.dead_letters import KEPT, DeadLetters, Keeper


def dead_letters(
    service: Annotated[
        Keeper | None, typer.Argument(help="The service. Without it, all services.")
    ] = None,
    limit: Annotated[
        int, typer.Option(help="How many of each service, the newest first.", min=1, max=KEPT)
    ] = 20,
    as_json: JsonFlag = False,
) -> None:
    """Messages that services set aside because they cannot use them: which, why, and a copy.

    Example: dojo dead-letters monitor --limit 1 --json
    """
    with CommandContext() as here:
        keepers = [service] if service else get_args(Keeper)
        found = {
            name: letters
            for name in keepers
            if (letters := DeadLetters(here.redis, name).newest(limit))
        }
    if as_json:
        print_json(found)
        return
    table = Table("service", "stream", "message", "reason", "payload")
    for name, letters in found.items():
        for one in letters:
            table.add_row(
                name, one.stream, one.message_id, escape(one.reason), escape(one.payload[:200])
            )
    out.print(table if found else "nothing was set aside")
