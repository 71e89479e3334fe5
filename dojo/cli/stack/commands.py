"""`dojo down`, `status`, `logs`: the stack on this machine. `up.py` starts it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from dojo.cli.context import CommandContext
from dojo.cli.output import JsonFlag, WatchFlag, err, fail, out, print_json
from dojo.cli.output import watch as keep_showing

if TYPE_CHECKING:
    from dojo.core.settings import Settings

# Where each process has a container, Docker starts, stops and keeps the logs.
CONTAINERS = "the stack runs in containers"


def settings_here() -> Settings:
    with CommandContext() as here:
        return here.settings


def down(
    purge: Annotated[
        bool, typer.Option("--purge", help="Also delete the home: lake, models, features, logs.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before deleting.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Stop the stack, also processes that a killed supervisor left. Data stays, unless --purge.

    Example: [bold]dojo down --purge[/]
    """
    import shutil

    from dojo.cli.stack.open_drill import end_open_drill
    from dojo.stack.control import stop

    settings = settings_here()
    if settings.peer_hosts:
        raise fail(CONTAINERS, "docker compose down; with -v its volumes go too")
    home = settings.home
    purge = purge and _holds_files(home)
    if purge:
        _check_purgeable(home)
    if purge and not yes:
        typer.confirm(f"Delete {home.resolve()} with its lake, models and features?", abort=True)
    end_open_drill(home)
    with err.status("stopping"):
        stopped = stop(home)
    deleted = [home.resolve()] if purge else []
    if purge:
        shutil.rmtree(home)
    if as_json:
        print_json({**asdict(stopped), "deleted": [str(path) for path in deleted]})
        return
    if stopped.leftovers:
        out.print(
            f"ended {stopped.leftovers} processes that a killed supervisor had left",
            highlight=False,
        )
    elif stopped.was_running:
        out.print(f"stopped in {stopped.seconds:.1f} s", highlight=False)
    else:
        out.print("nothing was running", highlight=False)
    for path in deleted:
        out.print(f"deleted {path}", markup=False, highlight=False, soft_wrap=True)


def _holds_files(home: Path) -> bool:
    """False before the first `up`. Stopping alone leaves at most an empty `run/`."""
    return any(path.is_file() for path in home.rglob("*"))


def _check_purgeable(home: Path) -> None:
    """Refuse to delete a directory that no stack or world has marked as its own."""
    from dojo.stack.paths import home_markers

    markers = home_markers(home)
    if not any(marker.is_file() for marker in markers):
        raise fail(
            f"{home.resolve()} is not a home of the stack, nothing was stopped or deleted: it has"
            f" neither {' nor '.join(str(marker.relative_to(home)) for marker in markers)}",
            "check DOJO_HOME",
        )


def status(watch: WatchFlag = False, as_json: JsonFlag = False) -> None:
    """Show each process, the world's time, the models' champions and how fresh the features are.

    Exit code 0 means that everything is healthy. Exit code 1 means that a process is not, or that
    nothing runs.

    Example: [bold]dojo status --json[/]
    """
    if not watch:
        if not _show_status(as_json):
            raise typer.Exit(1)
        return
    keep_showing(lambda: (_show_status(as_json), True)[1])


def _show_status(as_json: bool) -> bool:
    """Print it. Returns whether everything is healthy."""
    from dojo.cli.stack.view import print_status
    from dojo.stack.control import running
    from dojo.stack.overview import look
    from dojo.stack.peers import look_around

    settings = settings_here()
    stack = look_around(settings) if settings.peer_hosts else running(settings.home)
    if stack is None:
        if as_json:
            print_json({"running": False, "healthy": False})
            return False
        raise fail(f"no stack runs on {settings.home.resolve()}", "dojo up")
    overview = look(stack, settings)
    if as_json:
        seen = msgspec.to_builtins(overview)
        print_json(
            {
                "running": True,
                "healthy": stack.healthy,
                "memory_bytes": stack.memory_bytes,
                **seen.pop("stack"),
                **seen,
            }
        )
    else:
        print_status(overview)
    return stack.healthy


def logs(
    name: Annotated[
        str | None, typer.Argument(help="A process. Without it, all processes.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on as lines are written, until Ctrl-C.")
    ] = False,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, help="How many of the last lines.")
    ] = 50,
    as_json: Annotated[
        bool, typer.Option("--json", help="A JSON object per line: process, time, text and fields.")
    ] = False,
) -> None:
    """Show what the processes wrote, in the order of time.

    Example: [bold]dojo logs gateway -f[/]
    """
    from dojo.cli.stack.log_view import follow_logs, last_of_all, print_line
    from dojo.stack.paths import log_directory

    settings = settings_here()
    if settings.peer_hosts:
        raise fail(CONTAINERS, "docker compose logs --follow NAME")
    directory = log_directory(settings.home)
    files = {path.stem: path for path in sorted(directory.glob("*.log"))}
    if name is not None:
        if name not in files:
            raise fail(f"no log of {name!r}; there are: {', '.join(files) or 'none'}", "dojo up", 2)
        files = {name: files[name]}
    shown, ends = last_of_all(files, lines)
    for line in shown:
        print_line(line, as_json, named=name is None)
    if follow:
        try:
            for line in follow_logs(files, ends):
                print_line(line, as_json, named=name is None)
        except KeyboardInterrupt:
            raise typer.Exit from None
