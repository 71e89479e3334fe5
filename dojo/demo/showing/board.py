"""The monitor's results while the demo runs: the newest verdict of each check, as it arrives."""

from __future__ import annotations

from contextlib import suppress
from typing import cast

from redis import Redis
from redis.exceptions import RedisError
from rich.console import RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from dojo.core.events.log import RedisEventLog
from dojo.core.events.streams import MalformedEventError, decode
from dojo.core.events.types import Stream, Verdict
from dojo.core.severity import marked

PAGE = 1_000  # verdicts per read


class Board:
    """Follows the stream of verdicts from the moment it was made.

    Args:
        model: Model whose verdicts are shown.
    """

    def __init__(self, redis: Redis, model: str) -> None:
        self._log = RedisEventLog(redis, max_length=1)  # only read here
        self._after = self._log.last_id(Stream.VERDICTS)
        self._model = model
        self.newest: dict[str, Verdict] = {}

    def look(self) -> list[Verdict]:
        """Take in new verdicts. Returns the verdicts that differ from the one before, oldest first.

        A Redis that is away leaves the last state standing.
        """
        changed = []
        with suppress(RedisError):
            while page := self._log.tail(Stream.VERDICTS, self._after, PAGE):
                self._after = page[-1].message_id
                for delivery in page:
                    with suppress(MalformedEventError):  # the stream's consumers count it
                        verdict = cast("Verdict", decode(Stream.VERDICTS, delivery.payload))
                        if verdict.model == self._model and self._take(verdict):
                            changed.append(verdict)
        return changed

    def _take(self, verdict: Verdict) -> bool:
        name = f"{verdict.check} ({verdict.window})"
        before = self.newest.get(name)
        if verdict.severity == "insufficient_data":  # no change was seen
            return False
        self.newest[name] = verdict
        return verdict.severity != (before.severity if before else "ok")


def render(newest: dict[str, Verdict], news: str) -> RenderableType:
    """The newest verdicts, and below them the last message to the owner.

    The message says what is done, or why nothing is done.
    """
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("check", "verdict", "since", "what was found"):
        table.add_column(
            heading, style="dim" if heading == "check" else "", no_wrap=heading != "what was found"
        )
    for name, verdict in sorted(newest.items()):
        since = f"{verdict.since:%m-%d %H:%M}" if verdict.since else ""
        table.add_row(name, marked(verdict.severity), since, escape(verdict.summary))
    if not newest:
        table.add_row(
            "all",
            "[dim]nothing to report[/]",
            "",
            "most checks need labels, and labels take days",
        )
    return Panel(
        table, title="What the monitor says", subtitle=escape(news) or None, border_style="cyan"
    )
