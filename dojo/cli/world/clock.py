"""`dojo world`: the world's clock, and drift that a person causes in it."""

from __future__ import annotations

from typing import Annotated

import typer

from dojo.actions import world as actions
from dojo.cli.context import CommandContext
from dojo.cli.output import JsonFlag, out, print_json
from dojo.cli.world.drift import app as drift_app
from dojo.cli.world.past import wait_for_past

app = typer.Typer(no_args_is_help=True)
app.add_typer(drift_app, name="drift")


@app.command()
def status(as_json: JsonFlag = False) -> None:
    """Show the world's time and how fast it runs.

    Example: [bold]dojo world status --json[/]
    """
    with CommandContext() as here:
        _show(here, as_json)


@app.command()
def pause(as_json: JsonFlag = False) -> None:
    """Stop the world's time. All processes keep running, and nothing happens in the world.

    Example: [bold]dojo world pause[/]
    """
    with CommandContext() as here:
        actions.pause(here)
        _show(here, as_json)


@app.command()
def resume(
    speed: Annotated[
        float | None,
        typer.Option(
            min=0.001, max=86400, help="World seconds per wall second. Default: DOJO_SPEED."
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Let the world's time run on from its current value, or change its speed.

    Example: [bold]dojo world resume --speed 600[/]   (a world hour in six seconds)
    """
    with CommandContext() as here:
        wait_for_past(here.settings)
        actions.resume(here, speed)
        _show(here, as_json)


def _show(here: CommandContext, as_json: bool) -> None:
    now, speed, standstill = here.clock.now(), here.clock.speed(), here.clock.standstill()
    if as_json:
        seconds = standstill.total_seconds()
        print_json(
            {"time": now, "speed": speed, "paused": speed == 0, "standstill_seconds": seconds}
        )
    else:
        pace = f"{speed:g} world seconds a second" if speed else "paused"
        if standstill:
            pace += (
                "; it stands still, for the simulator does not move it: dojo status, dojo logs"
                " simulator"
            )
        out.print(f"{now:%Y-%m-%d %H:%M:%S} UTC, {pace}", highlight=False)
