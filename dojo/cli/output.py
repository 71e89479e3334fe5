"""The output of commands.

Results go to stdout (a table, or JSON for scripts). Progress and errors go to stderr.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.text import Text

# Without a terminal there is no edge to wrap at, so a file or a pipe gets whole lines.
PIPE_WIDTH = 200

out = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)
err = Console(stderr=True, width=None if sys.stderr.isatty() else PIPE_WIDTH)

# Seconds between two views of `--watch`. The shown values change with the world's minutes, and at
# the demo's speed a minute is a second.
WATCH_SECONDS = 1.0

WatchFlag = Annotated[
    bool, typer.Option("--watch", "-w", help="Show it again every second until Ctrl-C.")
]

# The one spelling of `--json` for every command: `def list_(as_json: JsonFlag = False)`.
JsonFlag = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]


@dataclass
class Script:
    """The one JSON document that a script gets on stdout: the result, or the error."""

    reads_json: bool = False
    answered: bool = False


script = Script()


def begin(reads_json: bool) -> None:
    """Say for which reader the command writes: a script (`--json`) or a person."""
    script.reads_json, script.answered = reads_json, False


def print_json(value: Any) -> None:
    """Print `value` as indented JSON on stdout, in UTF-8 in every locale, without colour.

    `value` may hold dicts, dataclasses, msgspec structs and times.
    """
    _write(msgspec.json.format(msgspec.json.encode(value), indent=2))


def print_json_line(value: Any) -> None:
    """The same on one line, for a command that prints many documents, one per line."""
    _write(msgspec.json.encode(value))


def _write(document: bytes) -> None:
    script.answered = True
    sys.stdout.flush()
    sys.stdout.buffer.write(document + b"\n")
    sys.stdout.buffer.flush()


def fail(message: str, next_step: str | None = None, code: int = 1) -> typer.Exit:
    """Say what went wrong and what to do. Use it as `raise fail(...)`.

    Code 1 is a failure, 2 a wrong call. Both texts are plain, so the brackets of a path are no
    markup.
    """
    answer_error(message, next_step or "", code)
    err.print(Text.assemble(("error", "bold red"), " ", message), highlight=False, soft_wrap=True)
    if next_step:
        err.print(Text.assemble(("next", "bold"), "  ", next_step), highlight=False, soft_wrap=True)
    return typer.Exit(code)


def watch(show: Callable[[], bool], seconds: float = WATCH_SECONDS) -> None:
    """Show what a command prints again and again, until it is over or the viewer presses Ctrl-C.

    Args:
        show: Prints the current state on `out`. It returns False at the end.
    """
    from rich.live import Live

    if script.reads_json:
        raise fail("--watch is for people and --json for scripts: give one of them", code=2)
    with (
        suppress(KeyboardInterrupt),
        Live(console=out, auto_refresh=False, vertical_overflow="visible") as live,
    ):
        while True:
            with out.capture() as printed:
                goes_on = show()
            live.update(Text.from_ansi(printed.get()), refresh=True)
            if not goes_on:
                break
            time.sleep(seconds)


def answer_error(message: str, next_step: str, code: int) -> None:
    """Give a script the error as JSON, unless it has its answer already.

    A person reads the error on stderr.
    """
    if script.reads_json and not script.answered:
        print_json({"error": message, "next": next_step, "code": code})


def note(message: str) -> None:
    """Say on stderr what the caller should know about a command that goes on."""
    err.print(f"[bold]note[/] {escape(message)}", highlight=False, soft_wrap=True)


@contextmanager
def progress_bar(first_step: str) -> Iterator[Callable[[str, float], None]]:
    """A bar on stderr. A callback moves it with the step's name and the finished share (0 to 1)."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=err,
        transient=True,
    ) as bar:
        task = bar.add_task(first_step, total=1.0)
        yield lambda step, share: bar.update(task, description=escape(step), completed=share)


@contextmanager
def errors_become_messages(*kinds: type[Exception], next_step: str | None = None) -> Iterator[None]:
    """Turn the expected errors of a command into a clear message instead of a traceback."""
    try:
        yield
    except kinds as error:
        raise fail(str(error), next_step) from error
