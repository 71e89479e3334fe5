"""`dojo explain`: why a version gave an answer (dojo/actions/explain.py)."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from dojo.cli.context import CommandContext
from dojo.cli.output import JsonFlag, errors_become_messages, out, print_json

SHOWN = 10  # more features than a reader compares by eye


def explain(
    answer: Annotated[
        str,
        typer.Argument(
            help="The answer's prediction_id, or the request_id.",
            metavar="ID",
        ),
    ],
    model: Annotated[
        str, typer.Option(help="The model, if several have answered.", metavar="MODEL")
    ] = "",
    letter: Annotated[
        bool, typer.Option("--letter", help="Only the text for a refused person.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Explain one answer, from its logged inputs and the very version that gave it.

    Each feature's part is exact. Of a regulated model that refused, it adds the text for the
    person.

    Example: dojo explain L20250106-0000042 --model pay_later
    """
    from rich.table import Table

    from dojo.actions.explain import explain as explained
    from dojo.core.registry.bundle import CorruptBundleError

    with CommandContext() as here, errors_become_messages(CorruptBundleError):
        found = explained(here, answer, model)
    if as_json:
        print_json(found)
        return
    if letter:
        out.print(found.letter or "nothing was refused", highlight=False, soft_wrap=True)
        return
    said = {True: "flagged", False: "not flagged", None: "answered"}[found.flagged]
    limit = "" if found.threshold is None else f", threshold {found.threshold:.4f}"
    table = Table(
        title=f"{found.model}@{found.version}, {found.world_time:%Y-%m-%d %H:%M}: {said}, score"
        f" {found.score:.4f}{limit}",
        title_justify="left",
    )
    table.add_column("feature", overflow="fold")
    for name in ("value", f"adds ({found.unit})"):
        table.add_column(name, justify="right")
    table.add_column("meaning", overflow="fold")
    table.add_row("base", "", f"{found.base:+.4f}", "without any feature")
    for one in found.contributions[:SHOWN]:
        value = escape(one.category) or f"{one.value:g}"
        table.add_row(one.feature, value, f"{one.adds:+.4f}", escape(one.meaning))
    rest = found.contributions[SHOWN:]
    if rest:
        table.add_row(f"{len(rest)} more", "", f"{sum(one.adds for one in rest):+.4f}", "")
    table.add_row("sum", "", f"{found.total:+.4f}", f"off the score by {found.difference:.1g}")
    out.print(table)
    if found.degraded:
        out.print(f"degraded: {', '.join(found.degraded)}", highlight=False)
    if found.letter:
        out.print(f"\n{escape(found.letter)}", highlight=False, soft_wrap=True)
