"""`dojo world drift`: change the world on purpose, and see whether the platform notices."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

import msgspec
import typer
from rich.markup import escape
from rich.table import Table

from dojo.actions.world import start_drift, stop_drifts
from dojo.cli.context import CommandContext, Who, Why
from dojo.cli.output import JsonFlag, errors_become_messages, fail, out, print_json
from dojo.core.spec.durations import format_duration, parse_duration
from dojo.shop.drift_kinds import KINDS, SUDDEN, KindOfDrift
from dojo.shop.world_drift import ActiveDrift, DriftError, DriftTable


def _strength(about: KindOfDrift, strength: float) -> str:
    return about.unit if about.lowest == about.highest else f"{strength:g} {about.unit}"


def _pace(ramp: timedelta | None) -> str:
    return f"over {format_duration(ramp)}" if ramp is not None and ramp > SUDDEN else "at once"


def _kinds_table() -> str:
    """The kinds for `--help`: a line each, with default strength and ramp."""
    lines = ["Kinds (in brackets: default strength, and how fast it grows):"]
    for kind, about in KINDS.items():
        fraud = "; synthetic world only" if about.synthetic_only else ""
        lines.append(
            f"[bold]{kind}[/]  {about.what} ({_strength(about, about.default)},"
            f" {_pace(about.ramp)}{fraud})"
        )
    return "\n\n".join(lines)


app = typer.Typer(
    help=(
        "Start and end drift, and watch the monitor find it. The monitor does not read this table."
    ),
    no_args_is_help=True,
)


@app.command(epilog=_kinds_table())
def start(
    kind: Annotated[
        str,
        typer.Argument(
            help="The kind of drift, as listed below.",
            metavar="KIND",
            autocompletion=lambda: list(KINDS),
        ),
    ],
    why: Why,
    strength: Annotated[
        float | None,
        typer.Option(
            help="Full strength in the kind's unit. Default: as listed below.", show_default=False
        ),
    ] = None,
    ramp: Annotated[
        str | None,
        typer.Option(
            help="World time over which it grows, such as 12h or 3d; 0 is at once.",
            show_default=False,
        ),
    ] = None,
    who: Who = "",
    as_json: JsonFlag = False,
) -> None:
    """Start a drift at the world's now. It goes on until a person stops it.

    Each kind can be active once at a time.

    Example: [bold]dojo world drift start covariate_gradual --strength 0.5 --ramp 5d --why "a new
    kind of customer"[/]

    Example: [bold]dojo world drift start unit_bug --why "does the monitor notice?"[/]
    """
    grows = _duration(ramp)
    with CommandContext() as here, errors_become_messages(DriftError):
        started = start_drift(here, kind, who, why, strength, grows)
    _show([started], started.started, as_json, one=True)
    if not as_json:
        out.print(f"[bold]end it[/]  dojo world drift stop {kind} --why ...", highlight=False)


@app.command()
def stop(
    why: Why,
    kind: Annotated[
        str,
        typer.Argument(help="The kind to end.", metavar="KIND", autocompletion=lambda: list(KINDS)),
    ] = "",
    everything: Annotated[bool, typer.Option("--all", help="End all active drifts.")] = False,
    who: Who = "",
    as_json: JsonFlag = False,
) -> None:
    """End a drift at the world's now, at once. Its effects stay in the data.

    Example: [bold]dojo world drift stop --all --why "seen enough"[/]
    """
    if bool(kind) == everything:
        raise fail("say which drift ends: its KIND, or --all", code=2)
    with CommandContext() as here, errors_become_messages(DriftError):
        ended = stop_drifts(here, kind, who, why)
        now = here.now()
    _show(ended, now, as_json)


@app.command("list")
def list_(as_json: JsonFlag = False) -> None:
    """Drifts that people caused, active and past, and the current strength of each.

    Example: [bold]dojo world drift list --json[/]
    """
    with CommandContext() as here, errors_become_messages(DriftError):
        drifts, now = DriftTable(here.redis).all(), here.now()
    _show([drift for drift in drifts if not drift.hidden], now, as_json)


def _duration(text: str | None) -> timedelta | None:
    if text is None:
        return None
    if text.strip() == "0":
        return SUDDEN
    try:
        return parse_duration(text)
    except ValueError as error:
        raise fail(f"--ramp: {error}, or 0", code=2) from error


def _show(drifts: list[ActiveDrift], now: datetime, as_json: bool, one: bool = False) -> None:
    if as_json:
        rows = [
            {**msgspec.to_builtins(drift), "intensity": drift.intensity(now)} for drift in drifts
        ]
        print_json(rows[0] if one else rows)
        return
    if not drifts:
        out.print("No drift: the world is as it was made.", highlight=False)
        return
    table = Table("kind", "now", "strength", "grows", "from", "to", "who", "why")
    for drift in drifts:
        table.add_row(
            drift.kind,
            "over" if drift.ended is not None else f"{drift.intensity(now):.0%}",
            _strength(KINDS[drift.kind], drift.strength),
            _pace(drift.ramp),
            f"{drift.started:%Y-%m-%d %H:%M}",
            f"{drift.ended:%Y-%m-%d %H:%M}" if drift.ended is not None else "",
            escape(drift.who),
            escape(drift.why),
        )
    out.print(table)
