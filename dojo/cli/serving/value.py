"""`dojo value`: what the models' decisions were worth (dojo/shop/value.py)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from dojo.cli.context import CommandContext
from dojo.cli.naming import AnyModel
from dojo.cli.output import JsonFlag, WatchFlag, out, print_json
from dojo.cli.output import watch as keep_showing


def value(
    model: AnyModel = "",
    since: Annotated[
        str,
        typer.Option(help="First world time of decisions, e.g. 2025-01-06T00:00.", metavar="TIME"),
    ] = "",
    until: Annotated[
        str, typer.Option(help="World time before which decisions were made.", metavar="TIME")
    ] = "",
    watch: WatchFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Show what the models' decisions were worth in euros, by version and arm.

    It compares with the same world without the model. DOJO_DECISIONS says whether flags may hide
    labels. The shop always acts on the other answers (docs/decisions.md).

    Example: dojo value fraud_detection --since 2025-01-06T00:00
    """
    from dojo.cli.training.terminal import parse_time

    start, end = parse_time(since) if since else None, parse_time(until) if until else None
    with CommandContext() as here:
        if model:
            here.spec(model)  # refuses an unknown name
        if watch:
            keep_showing(lambda: _show(here, model, start, end, as_json))
        else:
            _show(here, model, start, end, as_json)


def _show(
    here: CommandContext, model: str, start: datetime | None, end: datetime | None, as_json: bool
) -> bool:
    from rich.table import Table

    from dojo.core.lake import Lake
    from dojo.shop.value import value_of_decisions

    rows = value_of_decisions(Lake(here.settings.lake_dir), model, start, end)
    if as_json:
        print_json({"decisions": here.settings.decisions, "values": rows})
        return False
    if not rows:
        acts = here.settings.decisions != "none"
        out.print(
            "no decisions in the lake yet"
            if acts
            else "no decisions: DOJO_DECISIONS is none, so nothing acts on flags that would hide"
            " labels. Start with DOJO_DECISIONS=review dojo up"
        )
        return True
    table = Table(title="decisions, against a world without the model", title_justify="left")
    for name in ("model", "version", "arm"):
        table.add_column(name)
    for name in ("decided", "actions", "settled", "euro", "euro a day"):
        table.add_column(name, justify="left" if name == "actions" else "right")
    for row in rows:
        table.add_row(
            row.model,
            row.version,
            row.arm,
            f"{row.decided:,}",
            ", ".join(f"{count} {action}" for action, count in row.actions.items()),
            f"{row.settled:,}",
            f"{row.euro:,.2f}",
            "-" if row.euro_per_day is None else f"{row.euro_per_day:,.2f}",
        )
    out.print(table)
    return True
