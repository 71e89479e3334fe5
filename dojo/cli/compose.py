"""`dojo --context compose COMMAND`: the same commands against the stack of docker-compose.yml.

Its Redis, MLflow and lake answer only inside the containers' network. So the command itself runs
there, in the service `tools`, which has the same volumes and settings as the others. Files of this
machine are not in it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import typer

COMPOSE_FILE = Path(__file__).parents[2] / "docker-compose.yml"

# Commands that Docker has itself, in its own words.
_DOCKERS_OWN = {
    "up": ("up", "--build", "--wait"),
    "down": ("--profile", "full", "down"),  # includes the containers that the profile started
    "logs": ("logs",),
    "restart": ("restart",),
}

# A process of the embedded stack -> its containers, where the names differ.
_CONTAINERS = {
    "redis": ("redis-events",),
    "airflow": ("airflow", "airflow-scheduler", "airflow-dag-processor"),
}

PURGE, YES = "--purge", ("--yes", "-y")


def split(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """The context that a command line names, and the rest of it.

    The option counts only before the command. After it, options belong to the command.
    """
    first = arguments[0] if arguments else ""
    if first == "--context":
        return (arguments[1] if len(arguments) > 1 else ""), list(arguments[2:])
    if first.startswith("--context="):
        return first.removeprefix("--context="), list(arguments[1:])
    return "embedded", list(arguments)


def compose_command(arguments: Sequence[str], is_terminal: bool) -> list[str]:
    """The `docker compose` command line that does a `dojo` command. Pure.

    Args:
        is_terminal: Whether a person sees it. Then it may ask, and it shows progress.
    """
    compose = ["docker", "compose", "--file", str(COMPOSE_FILE)]
    name, *rest = arguments or ["--help"]
    if name in _DOCKERS_OWN:
        own = [
            "--volumes" if argument == PURGE else argument
            for argument in rest
            if argument not in YES
        ]
        return [
            *compose,
            *_DOCKERS_OWN[name],
            *(part for word in own for part in _CONTAINERS.get(word, (word,))),
        ]
    terminal = [] if is_terminal else ["--no-TTY"]
    return [*compose, "run", "--rm", "--no-deps", *terminal, "tools", name, *rest]


def run(context: str, arguments: Sequence[str]) -> NoReturn:
    """Become the command in another context. Signals and the exit code are the command's.

    Raises:
        typer.Exit: There is no such context, or no Docker.
        typer.Abort: The person refused to delete everything.
    """
    from dojo.cli.output import fail

    if context != "compose":
        raise fail(
            f"no context {context!r}; there are: embedded, compose",
            "dojo --context compose status",
            2,
        )
    if not COMPOSE_FILE.is_file():
        raise fail(
            "docker-compose.yml is not here: the context compose needs the checkout",
            "run it from there, by `make`",
            2,
        )
    if shutil.which("docker") is None:
        raise fail(
            "docker is not installed",
            "https://docs.docker.com/get-docker/, or dojo without --context",
            2,
        )
    if arguments[:1] == ["restart"] and not [
        word for word in arguments[1:] if not word.startswith("-")
    ]:
        raise fail(
            "restart needs a process: every container would be restarted",
            "dojo --context compose restart gateway",
            2,
        )
    if arguments[:1] == ["down"] and PURGE in arguments and not set(YES) & set(arguments):
        typer.confirm(
            "Delete the containers' volumes with events, lake, models and features?", abort=True
        )
    command = compose_command(arguments, sys.stdin.isatty() and sys.stdout.isatty())
    os.execvpe(
        command[0], command, {"DOJO_COMMIT": _commit(), **os.environ, "COMPOSE_MENU": "false"}
    )


def _commit() -> str:
    """The commit that images are made from. Images and the versions trained in them carry it."""
    git = ["git", "-C", str(COMPOSE_FILE.parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
