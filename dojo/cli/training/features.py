"""`dojo features`: bring features online, look them up."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from dojo.cli.context import CommandContext
from dojo.cli.output import JsonFlag, errors_become_messages, fail, out, print_json, progress_bar
from dojo.cli.training.terminal import parse_time

if TYPE_CHECKING:
    from feature_repo.freshness import JudgedView
    from pipelines.features.catalog_report import CatalogEntry

app = typer.Typer(no_args_is_help=True)


def _complete_name(incomplete: str) -> list[str]:
    from feature_repo.catalog import FEATURES, REQUESTS, VIEWS

    return [name for name in (*VIEWS, *REQUESTS, *FEATURES) if name.startswith(incomplete)]


@app.command()
def materialize(
    as_of: Annotated[
        str | None,
        typer.Option(
            help="World time, ISO 8601. Without a zone it is UTC. Default: the world's now.",
            show_default=False,
        ),
    ] = None,
    afresh: Annotated[
        bool,
        typer.Option(
            "--afresh",
            help="Offer all rows, the streamer's too, as after a release that changed features.",
        ),
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Compute what the offline store lacks and bring the latest values online.

    Running it twice changes nothing. The stack's materializer does this after every world midnight.
    A call by hand is for a stopped materializer, or for another time.

    Example: [bold]dojo features materialize --as-of 2018-06-10T08:00[/]
    """
    from rich.table import Table

    from pipelines.features.materialize import EmptyLakeError
    from pipelines.features.once import materialize_once

    moment = None if as_of is None else parse_time(as_of)
    with (
        CommandContext() as here,
        errors_become_messages(EmptyLakeError),
        progress_bar("asking Redis") as progress,
    ):
        done = materialize_once(here.settings, moment, "cli", progress, afresh)
    if as_json:
        print_json(dataclasses.asdict(done))
        return
    table = Table(
        "view", "entities offered", "as of", title=f"features as of {done.as_of:%Y-%m-%d %H:%M} UTC"
    )
    for view in done.views:
        table.add_row(view.view, f"{view.entities:,}", f"{view.as_of:%Y-%m-%d %H:%M}")
    out.print(table)
    out.print(
        f"{done.days_built} days, {done.rows_built:,} rows computed; {done.seconds:.1f} s",
        highlight=False,
    )


@app.command()
def catalog(
    search: Annotated[
        str | None,
        typer.Option(
            help="Only features with these words in name, description, owner, source or model.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Every feature: meaning, owner, source, reading models and freshness.

    Example: [bold]dojo features catalog --search "merchant risk"[/]
    """
    from pipelines.features.catalog_report import catalog_entries
    from pipelines.features.catalog_report import search as matching

    with CommandContext() as here:
        entries = catalog_entries(here.right_specs().values(), _freshness(here))
    found = matching(entries, search) if search else entries
    if not found:
        raise fail(f"no feature matches {search!r}", "dojo features catalog lists them all")
    if as_json:
        print_json([dataclasses.asdict(entry) for entry in found])
        return
    for view, features in groupby(found, key=lambda entry: entry.view):
        _print_view(view, list(features))


@app.command()
def impact(
    name: Annotated[
        str,
        typer.Argument(
            help="A view, a request's features, or one feature.",
            metavar="VIEW|FEATURE",
            autocompletion=_complete_name,
        ),
    ],
    as_json: JsonFlag = False,
) -> None:
    """Which models a change touches, and who owns them.

    Example: dojo features impact customer_daily
    """
    from rich.table import Table

    from pipelines.features.catalog_report import impact as models_touched

    with CommandContext() as here:
        specs = list(here.right_specs().values())
    try:
        found = models_touched(name, specs)
    except KeyError:
        raise fail(
            f"no view or feature {name}", "dojo features catalog lists them all", 2
        ) from None
    if as_json:
        print_json([dataclasses.asdict(one) for one in found])
        return
    if not found:
        out.print(f"No running model reads {name}.", highlight=False)
        return
    table = Table("model", "owner", "inputs that change", "in its requests")
    for one in found:
        computed = "computed from it" if one.computed else "-"
        table.add_row(one.model, escape(one.owner), "\n".join(one.inputs) or "-", computed)
    out.print(table)
    out.print(
        "A changed meaning needs a new feature service, so that versions stay rebuildable.",
        highlight=False,
    )


def _print_view(view: str, entries: Sequence[CatalogEntry]) -> None:
    """A view's features, under one line of their common properties."""
    from rich.table import Table

    shared = entries[0]
    readers = sorted({model for entry in entries for model in entry.models})
    out.print(
        f"\n[bold]{view}[/]  {shared.kind}, per {shared.entity}, owner {shared.owner}, PII"
        f" {'yes' if shared.pii else 'no'}\nfrom {escape(shared.source)}\nfreshness SLA"
        f" {shared.freshness_sla}, now {shared.freshness or 'unknown'}; read by"
        f" {', '.join(readers) or 'no model'}",
        highlight=False,
    )
    table = Table("feature", "unit", "description", box=None, pad_edge=False)
    for entry in entries:
        table.add_row(entry.feature, entry.unit, escape(entry.description))
    out.print(table)


def _freshness(here: CommandContext) -> dict[str, JudgedView] | None:
    """The verdict on each view. None when Redis does not answer or the world has no time."""
    from redis.exceptions import RedisError

    from dojo.core.state.clock import ClockNotSetError
    from feature_repo.freshness import read_freshness

    try:
        return {view.view: view for view in read_freshness(here.redis, here.now())}
    except (RedisError, ClockNotSetError):
        return None
