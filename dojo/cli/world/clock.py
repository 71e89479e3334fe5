"""`dojo world`: the world's clock, and drift that is caused in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from redis.exceptions import RedisError

from dojo.cli.output import JsonFlag, errors_become_messages, fail, out, print_json
from dojo.cli.world.drift import app as drift_app
from dojo.core.connections import connect_redis, redis_address
from dojo.core.settings import Settings, SettingsError, load_settings
from dojo.core.state.clock import ClockNotSetError, RedisWorldClock

app = typer.Typer(
    help="The world: its clock (look at it, pause it, let it run), and drift that you cause.", no_args_is_help=True
)
app.add_typer(drift_app, name="drift")


@app.command()
def status(as_json: JsonFlag = False) -> None:
    """Show the world's time and how fast it runs.

    Example: [bold]dojo world status --json[/]
    """
    with _clock() as (clock, _):
        _show(clock, as_json)


@app.command()
def pause(as_json: JsonFlag = False) -> None:
    """Stop the world's time. Everything keeps running; nothing happens in the world.

    Example: [bold]dojo world pause[/]
    """
    with _clock() as (clock, _):
        clock.set_speed(0)
        _show(clock, as_json)


@app.command()
def resume(
    speed: Annotated[
        float | None, typer.Option(min=0.001, max=86400, help="World seconds per wall second; default: DOJO_SPEED.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Let the world's time run on from where it is, or change how fast it runs.

    Example: [bold]dojo world resume --speed 600[/]   (a world hour in six seconds)
    """
    with _clock() as (clock, settings):
        clock.set_speed(settings.speed if speed is None else speed)
        _show(clock, as_json)


@contextmanager
def _clock() -> Iterator[tuple[RedisWorldClock, Settings]]:
    with errors_become_messages(SettingsError):
        settings = load_settings()
    client = connect_redis(settings.redis)
    try:
        client.ping()  # the clock itself takes an absent Redis for a world without time
        yield RedisWorldClock(client), settings
    except ClockNotSetError as error:
        raise fail(str(error), "dojo data history") from error
    except RedisError as error:
        raise fail(f"Redis does not answer at {redis_address(settings.redis)}: {error}", "dojo up") from error
    finally:
        client.close()


def _show(clock: RedisWorldClock, as_json: bool) -> None:
    now, speed = clock.now(), clock.speed()
    if as_json:
        print_json({"time": now, "speed": speed, "paused": speed == 0})
    else:
        pace = f"{speed:g} world seconds a second" if speed else "paused"
        out.print(f"{now:%Y-%m-%d %H:%M:%S} UTC, {pace}", highlight=False)
