"""`dojo up`: start the stack on this machine, or wait for its containers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.markup import escape

from dojo.cli.output import JsonFlag, err, errors_become_messages, fail, note, print_json
from dojo.cli.stack.commands import CONTAINERS, settings_here

if TYPE_CHECKING:
    from dojo.core.settings import Settings
    from dojo.stack.status import StackStatus


CORRECT_FILE = "correct the file"


def up(
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until every process is healthy.")
    ] = True,
    transactions: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Replay these transactions (see dojo data import); default: generated ones.",
        ),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(
            help=(
                "Leave out an optional process: airflow, prometheus. Remembered; DOJO_WITHOUT= dojo"
                " up brings it back."
            )
        ),
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(
            help=(
                "Models that run, separated by commas, or `all`; default: every model that is not"
                " optional. Remembered with the world."
            )
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Start the stack: servers, services, and Prometheus with Alertmanager where installed.

    The servers are Redis, MLflow and Airflow. The services are gateway, rollout controller,
    recorder, streamer, materializer, trainer, monitor, responder and simulator.

    Does nothing when it already runs. The DOJO_* variables of its start are remembered until
    `dojo down --purge`.

    Examples: [bold]DOJO_GATEWAY_PORT=9000 dojo up[/], [bold]dojo up --models all[/]
    """
    from dojo.cli.stack.open_drill import end_open_drill
    from dojo.cli.stack.view import print_started
    from dojo.stack.control import StackError, running, stop
    from dojo.stack.environment import WorldConflictError

    if without:
        # As a variable, so that every later step, also another command, knows the stack as it is.
        os.environ["DOJO_WITHOUT"] = ",".join(without)
    if models is not None:
        os.environ["DOJO_MODELS"] = models
    settings = settings_here()
    if settings.peer_hosts:
        _join_containers(settings, transactions or models, as_json)
        return
    _close_off(settings.home)
    already = running(settings.home) is not None
    try:
        with errors_become_messages(
            WorldConflictError, next_step="dojo down --purge deletes that world"
        ):
            if already:
                _check_joining(settings, transactions, without or [])
            else:
                end_open_drill(settings.home)
                _start(settings, transactions)
        status = _wait_until_healthy(settings.home) if wait else running(settings.home)
        if wait and not already:
            end_open_drill(settings.home)  # of what its undo needs a server for
    except StackError as error:
        for line in error.log_tail:
            err.print(f"  {error.process} | {line}", markup=False, highlight=False, soft_wrap=True)
        if not already:
            stop(settings.home)
        raise fail(str(error), "dojo doctor says what this machine lacks") from error
    except KeyboardInterrupt:
        raise fail(
            "interrupted; the stack goes on starting in the background",
            "dojo status, or dojo down",
            130,
        ) from None
    if as_json:
        print_json({"already_running": already, **msgspec.to_builtins(status)})
    elif status is not None:
        print_started(status, already)


def _join_containers(settings: Settings, chosen: Path | str | None, as_json: bool) -> None:
    """Wait for containers that Docker has started. `chosen`: an option that chooses their world."""
    from dojo.cli.stack.view import StateChanges, print_started
    from dojo.stack.control import StackError
    from dojo.stack.peers import wait_for_peers

    if chosen is not None:
        raise fail(
            f"{CONTAINERS}: their world is chosen before they start",
            "docs/containers.md: a world of your own",
        )
    try:
        status = wait_for_peers(
            settings, StateChanges(lambda line: err.print(line, highlight=False, soft_wrap=True))
        )
    except StackError as error:
        raise fail(str(error), "docker compose ps, docker compose logs NAME") from error
    if as_json:
        print_json({"already_running": True, **msgspec.to_builtins(status)})
    else:
        print_started(status, already=True)


def _check_joining(settings: Settings, transactions: Path | None, without: list[str]) -> None:
    """Refuse options that differ from the running stack."""
    from dojo.stack.control import running
    from dojo.stack.environment import check_same_world, remembered

    check_same_world(settings.home, os.environ)
    stack = running(settings.home)
    asked = os.environ.get("DOJO_MODELS", "")
    if (runs := remembered(settings.home).get("DOJO_MODELS", "")) != asked:
        raise fail(
            f"the stack already runs, with {runs or 'the default models'}",
            f"dojo down, then dojo up --models {asked or chr(39) * 2}",
        )
    for name in without:
        if stack is not None and any(process.name == name for process in stack.processes):
            raise fail(
                f"the stack already runs, with {name}", f"dojo down, then dojo up --without {name}"
            )
    if transactions is None:
        return
    if settings.world_source != "replay" or settings.replay_dataset is None:
        raise fail(
            "the stack already runs, on generated transactions",
            "dojo down --purge, then dojo up --transactions FILE",
        )
    if _import(transactions) != settings.replay_dataset.resolve():
        raise fail(
            f"the stack already runs, on other transactions: {settings.replay_dataset}",
            "dojo down --purge, then dojo up --transactions FILE",
        )


def _close_off(home: Path) -> None:
    """Take other users' rights from a home that was made with them, and say so."""
    from dojo.core.private import close_off, is_open_to_others
    from dojo.stack.paths import is_home

    if not home.is_dir():
        return  # it will be made without them
    if not is_home(home):
        if is_open_to_others(home):
            err.print(
                f"[bold]note[/]  {escape(str(home.resolve()))} holds other files, so it stays open"
                " to other users of this machine. What the stack makes there is private.",
                highlight=False,
                soft_wrap=True,
            )
        return
    try:
        narrowed = close_off(home)
    except PermissionError as error:
        raise fail(
            f"{escape(str(error.filename))} belongs to another user, so it cannot be made private",
            "change its owner to you, or set DOJO_HOME to a directory of yours",
        ) from error
    if narrowed:
        shown = f"{narrowed[0].resolve()}" + (
            f" and {len(narrowed) - 1} files and directories below" if narrowed[1:] else ""
        )
        err.print(
            f"[bold]note[/]  other users of this machine could read {escape(shown)}; now only"
            " you can",
            highlight=False,
            soft_wrap=True,
        )


def _start(settings: Settings, transactions: Path | None) -> None:
    from dojo.stack.control import launch
    from dojo.stack.environment import check_same_world

    _look_at_specs(settings)
    if transactions is None:
        launch(settings, os.environ)
        return
    replay = {**os.environ, "DOJO_WORLD_SOURCE": "replay"}
    if settings.world_source != "replay":
        check_same_world(settings.home, replay)  # before the import, which takes long
    # Also for later steps of this process: `dojo demo` goes on from here.
    os.environ.update(replay, DOJO_REPLAY_DATASET=str(_import(transactions)))
    launch(settings_here(), os.environ)


def _look_at_specs(settings: Settings) -> None:
    """Name each model that will be left out, because its spec is wrong.

    Refuses when no spec is right, and when the world is new.
    """
    from dojo.core.spec.read import SpecError
    from feature_repo.specs import load

    with errors_become_messages(SpecError, next_step=CORRECT_FILE):
        loaded = load(settings)
    if not loaded.faults:
        return
    from services.simulator.world import load_world, new_world_refusal

    if load_world(settings.home) is None:
        raise fail(new_world_refusal(loaded.faults), f"{CORRECT_FILE}, or DOJO_MODELS=... dojo up")
    for model, fault in loaded.faults.items():
        note(f"{model} is left out, because its spec is wrong: {fault}")
    note(f"next: {CORRECT_FILE}, then dojo config apply --why ...")


def _import(transactions: Path) -> Path:
    """The data set of a file of transactions. The same content always gives the same data set."""
    command = [sys.executable, "-m", "dojo", "data", "import", str(transactions), "--json"]
    imported = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if imported.returncode != 0:
        raise typer.Exit(imported.returncode)  # the import has said what is wrong with the file
    return Path(msgspec.json.decode(imported.stdout)["path"]).resolve()


def _wait_until_healthy(home: Path) -> StackStatus:
    """Show each process on its way to health, on stderr.

    A terminal shows it live. Elsewhere each change gives a line.
    """
    from rich.live import Live

    from dojo.cli.stack.view import StateChanges, starting_table
    from dojo.stack.control import wait_until_healthy

    if not err.is_terminal:
        changes = StateChanges(lambda line: err.print(line, highlight=False, soft_wrap=True))
        return wait_until_healthy(home, changes)
    with Live(console=err, transient=True, refresh_per_second=5) as live:
        return wait_until_healthy(home, lambda status: live.update(starting_table(status)))
