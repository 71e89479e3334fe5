"""`dojo metrics`, `redis`, `restart`, `runbook`: tools for a person on duty.

The words are the same for each kind of stack.
"""

from __future__ import annotations

import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Annotated, Any

import typer

from dojo.cli.context import CommandContext
from dojo.cli.output import JsonFlag, fail, out, print_json

RUNBOOKS = Path(__file__).parents[3] / "monitoring" / "runbooks"

ANSWER_SECONDS = 5.0

# Redis commands that change nothing.
LOOKS = (
    "client list", "config get", "dbsize", "info", "lrange", "memory usage", "ping",
    "slowlog get", "xinfo groups", "xlen", "xrevrange",
)  # fmt: skip


def metrics(
    name: Annotated[str, typer.Argument(help="A process.", metavar="PROCESS")],
    part: Annotated[
        str, typer.Argument(help="Only series whose name or labels hold this text.", metavar="TEXT")
    ] = "",
    as_json: JsonFlag = False,
) -> None:
    """Show what a process measures now, as Prometheus reads it.

    Example: dojo metrics gateway degraded_total
    """
    from dojo.stack.table import processes

    with CommandContext() as here:
        settings = here.settings
    measured = [
        *(process.name for process in processes(settings) if process.metrics),
        "prometheus",
        "alertmanager",
    ]
    if name not in measured:
        raise fail(
            f"no process {name!r} that measures; there are {', '.join(measured)}", "dojo status", 2
        )
    try:
        with urllib.request.urlopen(
            f"{settings.url_of(name)}/metrics", timeout=ANSWER_SECONDS
        ) as answer:
            lines = answer.read().decode().splitlines()
    except (OSError, HTTPException) as error:
        raise fail(
            f"{name} does not answer at {settings.url_of(name)}: {error}",
            f"dojo status, dojo logs {name}",
        ) from error
    series = [
        line for line in lines if line[:1] not in ("", "#") and part in line.rpartition(" ")[0]
    ]
    if as_json:
        print_json({name: value for name, _, value in (line.rpartition(" ") for line in series)})
    else:
        out.print(
            "\n".join(series) or f"{name} measures nothing of {part!r}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def redis(
    words: Annotated[
        list[str],
        typer.Argument(help=f"A Redis command that looks: {', '.join(LOOKS)}.", metavar="COMMAND"),
    ],
    online: Annotated[
        bool, typer.Option("--online", help="Ask the online store's Redis instead.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Ask the stack's Redis, without its address and password. The answer is always JSON.

    Examples: [bold]dojo redis info memory[/], [bold]dojo redis --online slowlog get 5[/]
    """
    from redis.exceptions import RedisError, ResponseError

    from dojo.cli.redis_words import redis_words
    from dojo.core.connections import connect_redis

    look = next((look for look in LOOKS if " ".join(words).lower().startswith(look)), None)
    if look is None:
        raise fail(
            f"{' '.join(words)!r} may change something; there are: {', '.join(LOOKS)}", code=2
        )
    with CommandContext() as here:
        settings = here.settings
        address = settings.online_store if online else settings.redis
    client: Any = connect_redis(address)  # its commands by name are untyped
    try:
        print_json(_readable(client.execute_command(look.upper(), *words[len(look.split()) :])))
    except ResponseError as error:
        raise fail(str(error), code=2) from error
    except RedisError as error:
        raise fail(*redis_words(error, settings, address)) from error


def _readable(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, dict):
        return {_readable(key): _readable(found) for key, found in value.items()}
    return [_readable(found) for found in value] if isinstance(value, list | tuple) else value


def restart(
    name: Annotated[str, typer.Argument(help="A process.", metavar="PROCESS")],
    as_json: JsonFlag = False,
) -> None:
    """End a process, even a hanging process, and let the supervisor start it again.

    It goes on where it was.

    Example: dojo restart monitor
    """
    from dojo.cli.stack.commands import CONTAINERS
    from dojo.stack.control import NotRunningError, StackError
    from dojo.stack.control import restart as restart_process

    with CommandContext() as here:
        settings = here.settings
    if settings.peer_hosts:
        raise fail(CONTAINERS, f"dojo --context compose restart {name}")
    try:
        killed = restart_process(settings.home, name)
    except StackError as error:
        raise fail(
            str(error),
            f"dojo status, dojo logs {name}",
            2 if isinstance(error, NotRunningError) else 1,
        ) from error
    if as_json:
        print_json({"process": name, "killed": killed})
    else:
        out.print(
            f"{name} was {'killed' if killed else 'ended'}, and is healthy again", highlight=False
        )


def runbook(
    name: Annotated[
        str, typer.Argument(help="An alert. Without it, the list of all alerts.", metavar="ALERT")
    ] = "",
    as_json: JsonFlag = False,
) -> None:
    """Show what an alert means and what to do first.

    Example: dojo runbook InputDrift
    """
    names = sorted(path.stem for path in RUNBOOKS.glob("*.md"))
    if name and name not in names:
        raise fail(f"no runbook {name!r}", "dojo runbook lists all", 2)
    text = (RUNBOOKS / f"{name}.md").read_text() if name else "\n".join(names)
    if as_json:
        print_json({name: text} if name else names)
    else:
        out.print(text, markup=False, highlight=False, soft_wrap=True)
