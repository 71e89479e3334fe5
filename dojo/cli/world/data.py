"""`dojo data`: bring transactions in, build a world's history."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.markup import escape

from dojo.cli.context import CommandContext
from dojo.cli.output import (
    JsonFlag,
    err,
    errors_become_messages,
    fail,
    note,
    out,
    print_json,
    progress_bar,
)

app = typer.Typer(no_args_is_help=True)


@app.command("import")
def import_(
    file: Annotated[
        Path, typer.Argument(help="CSV (with a header) or Parquet.", show_default=False)
    ],
    map_: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="THEIRS=OURS",
            help="Name a column: theirs=ours. Repeat for more.",
            show_default=False,
        ),
    ] = None,
    separator: Annotated[
        str, typer.Option(metavar="CHARACTER", help="Character between a CSV file's cells.")
    ] = ",",
    decimal_comma: Annotated[
        bool, typer.Option("--decimal-comma", help="Amounts are written like 12,50.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Check a file of transactions and keep it as a data set to replay or to backtest.

    Needed columns, with the public data set's names in brackets:

    - transaction_id (TRANSACTION_ID), time (TX_DATETIME), customer_id (CUSTOMER_ID)

    - merchant_id (TERMINAL_ID), amount (TX_AMOUNT), label (TX_FRAUD)

    Both spellings are recognised.

    A file with faults is refused as a whole. Every fault is shown with its column, row count and an
    example. A row that repeats a payment with another label corrects it.

    The command also says what the models' specs will refuse to learn from, with the line that
    decides.

    Example: [bold]dojo data import payments.csv --map shop=merchant_id --map paid_at=time[/]

    Example: [bold]dojo data import zahlungen.csv --separator ';' --decimal-comma[/]
    """
    from rich.table import Table
    from rich.text import Text

    from dojo.cli.world.outlook import training_refusals
    from dojo.shop.datasets import CsvFormat, DatasetError
    from services.simulator.sources.importing import import_transactions

    if len(separator) != 1 or not separator.isascii():
        raise fail(f"--separator wants one ASCII character, got {separator!r}", code=2)
    mapping = _mapping(map_ or [])
    with (
        CommandContext() as here,
        errors_become_messages(
            DatasetError,
            OSError,
            next_step="nothing was imported; mend the file and import it again",
        ),
        progress_bar("starting") as progress,
    ):
        csv_format = CsvFormat(separator, decimal_comma)
        imported = import_transactions(
            file, here.settings.imports_dir, mapping, progress, csv_format, note
        )
    refused = training_refusals(Path(imported.path), here.settings)
    for reason in refused:
        err.print(
            Text.assemble(("training will refuse it", "yellow"), "  ", reason),
            highlight=False,
            soft_wrap=True,
        )
    if as_json:
        print_json({**msgspec.to_builtins(imported), "training_refusals": refused})
        return
    table = Table(
        title="already imported" if imported.already_imported else "imported",
        show_header=False,
        title_justify="left",
    )
    table.add_row("data set", escape(imported.path))
    table.add_row("transactions", f"{imported.rows:,}")
    table.add_row("customers", f"{imported.customers:,}")
    table.add_row("merchants", f"{imported.merchants:,}")
    table.add_row("from", f"{imported.first:%Y-%m-%d %H:%M:%S} UTC")
    table.add_row("to", f"{imported.last:%Y-%m-%d %H:%M:%S} UTC")
    table.add_row("fraud", f"{imported.fraud_rate:.2%}")
    out.print(table)
    out.print("[bold]next[/]  replay it:", highlight=False)
    # The data set instead of the file, because its columns need no mapping any more.
    kept = shlex.quote(imported.path)
    out.print(f"  dojo demo --transactions {kept}", highlight=False, markup=False, soft_wrap=True)
    out.print("or, in a home of its own:", highlight=False)
    out.print(
        f"  DOJO_WORLD_SOURCE=replay DOJO_REPLAY_DATASET={kept} dojo up",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def _mapping(pairs: list[str]) -> dict[str, str]:
    mapping = {}
    for pair in pairs:
        theirs, equals, ours = pair.rpartition("=")
        if not (theirs and equals and ours):
            raise fail(f"--map wants THEIRS=OURS, such as --map paid_at=time; got {pair!r}", code=2)
        mapping[theirs] = ours
    return mapping


@app.command()
def history(
    days: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1000,
            help="World days of history; DOJO_HISTORY_DAYS when not given.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Build the world's history: the lake's past, then the world's time at its end, paused.

    The simulator does this by itself when the world has no time yet. Needs the running Redis
    (DOJO_REDIS_URL, or [bold]dojo up[/]). A second run repeats missing parts and changes nothing
    else.

    Example: [bold]dojo data history --days 60[/]
    """
    from dojo.shop.datasets import DatasetError
    from services.simulator.opening import open_world
    from services.simulator.sources.span import TooShortError
    from services.simulator.world import OtherWorldError

    with (
        CommandContext() as here,
        errors_become_messages(DatasetError, OtherWorldError, TooShortError),
    ):
        opened = open_world(here.settings, days)
        with progress_bar("starting") as progress:
            ready = opened.ensure(progress)
    result = {
        "built": ready.built is not None,
        "world": opened.world,
        "position": ready.position,
        "history": ready.built,
        "notes": ready.notes,
    }
    for mended in ready.notes:
        note(mended)
    if as_json:
        print_json(result)
    elif ready.built is None:
        span = opened.world.span
        out.print(
            f"history from {span.start} to {span.end} is already there; the world stands at"
            f" {ready.position:%Y-%m-%d %H:%M}"
        )
    else:
        built = ready.built
        out.print(
            f"history from {built.start:%Y-%m-%d} to {built.end:%Y-%m-%d}:"
            f" {', '.join(f'{count:,} {stream}' for stream, count in built.events.items())},"
            f" {built.outcomes:,} outcomes have arrived"
        )
        out.print(
            "[bold]next[/]  dojo train MODEL, then let the world run: dojo world resume",
            highlight=False,
        )


@app.command()
def retention(as_json: JsonFlag = False) -> None:
    """Show what the lake keeps longer than any spec asks (data.retention).

    It also shows which champions were trained on it. It changes nothing. The materializer deletes
    these files, once a world day, and writes an audit entry (dojo audit list --kind data).

    Example: [bold]dojo data retention --json[/]
    """
    from dojo.core.lake import Lake
    from feature_repo.specs import load
    from pipelines.retention import Retention, champions_of

    with CommandContext() as here:
        loaded = load(here.settings)
        retention = Retention(
            Lake(here.settings.lake_dir),
            here.settings.offline_dir,
            loaded,
            here.audit,
            lambda: champions_of(here.registry, loaded.specs),
        )
        if retention.held_back:
            raise fail(retention.held_back, "correct the file; the next deletion follows a restart")
        found = retention.expired(here.now())
    if as_json:
        print_json(found)
        return
    out.print(f"days before {found.before} go: {found.reason}", highlight=False)
    for stream, one in found.streams.items():
        size = f"{one.files:,} files, {one.rows:,} rows, {one.bytes / 1e6:,.1f} MB"
        out.print(f"  {stream}: {one.first} to {one.last}, {size}", highlight=False)
    for champion, count in found.needed_by.items():
        out.print(
            f"[yellow]{champion}[/] was trained on {count:,} of these files: it can no longer be"
            " reproduced",
            highlight=False,
        )
    if not found.streams:
        out.print("nothing in the lake is that old", highlight=False)
