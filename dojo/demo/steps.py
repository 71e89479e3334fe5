"""The demo's steps before traffic flows: each one a `dojo` command as a user would type it, timed."""

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


class StepFailedError(RuntimeError):
    """A command of the demo failed; its own message stands above on stderr."""


@dataclass(slots=True)
class Steps:
    """Runs commands in order, says what each did, and remembers how long it took."""

    console: Console
    seconds: dict[str, float] = field(default_factory=dict)

    def run(self, title: str, arguments: Sequence[str], describe: Callable[[Any], str]) -> Any:
        """One `dojo` command with `--json`; its progress goes straight to the viewer's stderr.

        Args:
            describe: the command's JSON -> one line on what came out.

        Raises:
            StepFailedError: names the command to repeat by hand.
        """
        shown = shlex.join(["dojo", *arguments])
        self._say(f"[bold cyan]▸[/] {title}  [dim]{escape(shown)}[/]")
        started = time.monotonic()
        done = subprocess.run([sys.executable, "-m", "dojo", *arguments, "--json"], stdout=subprocess.PIPE, check=False)
        elapsed = time.monotonic() - started
        if done.returncode != 0:
            raise StepFailedError(f"`{shown}` failed (exit code {done.returncode}); run it by hand to see more, or `dojo logs`")
        result = msgspec.json.decode(done.stdout)
        self.finished(title, elapsed, describe(result))
        return result

    def wait(self, title: str, condition: Callable[[], str | None], within: float) -> str:
        """Poll until `condition` returns what to say; raises StepFailedError after `within` seconds of wall time."""
        self._say(f"[bold cyan]▸[/] {title}")
        started = time.monotonic()
        while (said := condition()) is None:
            if time.monotonic() - started > within:
                raise StepFailedError(f"{title}: not within {within:g} s; `dojo status` and `dojo logs` show why")
            time.sleep(0.2)
        self.finished(title, time.monotonic() - started, said)
        return said

    def finished(self, title: str, elapsed: float, said: str) -> None:
        self.seconds[title] = elapsed
        self._say(f"  [green]✔[/] {said} [dim]({elapsed:.1f} s)[/]")

    def _say(self, line: str) -> None:
        # Also without its terminal, a step must undo what it has to undo.
        with suppress(OSError):
            self.console.print(line, highlight=False, soft_wrap=True)
