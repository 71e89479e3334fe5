"""How commands speak: results on stdout (a table, or JSON for scripts), progress and errors on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.markup import escape

# Without a terminal there is no edge to wrap at: a file or a pipe gets whole lines.
PIPE_WIDTH = 200

out = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)
err = Console(stderr=True, width=None if sys.stderr.isatty() else PIPE_WIDTH)

# The one spelling of `--json` for every command: `def list_(as_json: JsonFlag = False)`.
JsonFlag = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]


def print_json(value: Any) -> None:
    """`value` (dicts, dataclasses, msgspec structs, times) as indented JSON on stdout: in UTF-8 in every locale, without colour."""
    sys.stdout.flush()
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
    sys.stdout.buffer.flush()


def fail(message: str, next_step: str | None = None, code: int = 1) -> typer.Exit:
    """Say what went wrong and what to do; use as `raise fail(...)`. Code 1 is a failure, 2 a wrong call."""
    err.print(f"[bold red]error[/] {message}", highlight=False, markup=True, soft_wrap=True)
    if next_step:
        err.print(f"[bold]next[/]  {next_step}", highlight=False, soft_wrap=True)
    return typer.Exit(code)


def note(message: str) -> None:
    """Say on stderr what the caller should know about a command that goes on."""
    err.print(f"[bold]note[/] {escape(message)}", highlight=False, soft_wrap=True)


@contextmanager
def progress_bar(first_step: str) -> Iterator[Callable[[str, float], None]]:
    """A bar on stderr that a callback moves: the step's name, and the share that is done, 0 to 1."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    with Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=err, transient=True) as bar:
        task = bar.add_task(first_step, total=1.0)
        yield lambda step, share: bar.update(task, description=escape(step), completed=share)


@contextmanager
def errors_become_messages(*kinds: type[Exception], next_step: str | None = None) -> Iterator[None]:
    """Turn the expected errors of a command into a clear message instead of a traceback."""
    try:
        yield
    except kinds as error:
        raise fail(escape(str(error)), next_step) from error
