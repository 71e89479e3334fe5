"""The demo's steps, timed. Each is a `dojo` command as a user would type it, or a wait.

A terminal shows a step when it begins and when it ends. Elsewhere a step is one line, when it ends.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec
from rich.console import Console
from rich.markup import escape

# Columns of a line where nothing wraps it: a log, a page, an e-mail.
LINE_WIDTH = 120


class StepFailedError(RuntimeError):
    """A command of the demo failed. Its own message stands above on stderr."""


def print_line(console: Console, text: str) -> None:
    """One line, cut at LINE_WIDTH. Colours and markup are not used."""
    cut = text if len(text) <= LINE_WIDTH else f"{text[: LINE_WIDTH - 1]}…"
    console.print(cut, highlight=False, markup=False, soft_wrap=True)


@dataclass(slots=True)
class Steps:
    """Runs commands in order, shows each result, and remembers the time that each took."""

    console: Console
    seconds: dict[str, float] = field(default_factory=dict)

    def run(self, title: str, arguments: Sequence[str], describe: Callable[[Any], str]) -> Any:
        """Run one `dojo` command with `--json`. Its progress goes to the viewer's stderr.

        Args:
            describe: Makes one line about the result from the command's JSON.

        Raises:
            StepFailedError: Names the command to repeat by hand.
        """
        shown = shlex.join(["dojo", *arguments])
        self._begin(title, shown)
        started = time.monotonic()
        command = [sys.executable, "-m", "dojo", *arguments, "--json"]
        told = None if self.console.is_terminal else subprocess.PIPE
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=told, text=True, check=False)
        elapsed = time.monotonic() - started
        if done.returncode != 0:
            sys.stderr.write(done.stderr or "")
            raise StepFailedError(
                f"`{shown}` failed (exit code {done.returncode}); run it by hand to see more, or"
                " `dojo logs`"
            )
        result = msgspec.json.decode(done.stdout)
        self.finished(title, elapsed, describe(result))
        return result

    def wait(self, title: str, condition: Callable[[], str | None], within: float) -> str:
        """Poll until `condition` returns the words to show.

        Raises StepFailedError after `within` seconds of wall time.
        """
        self._begin(title)
        started = time.monotonic()
        while (said := condition()) is None:
            if time.monotonic() - started > within:
                raise StepFailedError(
                    f"{title}: not within {within:g} s; `dojo status` and `dojo logs` show why"
                )
            time.sleep(0.2)
        self.finished(title, time.monotonic() - started, said)
        return said

    def finished(self, title: str, elapsed: float, said: str) -> None:
        self.seconds[title] = elapsed
        if self.console.is_terminal:
            self._say(f"  [green]✔[/] {said} [dim]({elapsed:.1f} s)[/]")
        else:
            with suppress(OSError):
                print_line(self.console, f"{elapsed:6.1f} s  {title}: {said}")

    def _begin(self, title: str, command: str = "") -> None:
        if self.console.is_terminal:
            self._say(f"[bold cyan]▸[/] {title}  [dim]{escape(command)}[/]")

    def _say(self, line: str) -> None:
        # Even without its terminal, a step must clean up.
        with suppress(OSError):
            self.console.print(line, highlight=False, soft_wrap=True)
