"""Log lines for people.

They are parsed where they are JSON, ordered by time across files, and followed as they grow.
"""

from __future__ import annotations

import heapq
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from rich.text import Text

from dojo.cli.output import out, print_json_line
from dojo.stack.supervisor.logfiles import last_lines

FOLLOW_SECONDS = 0.2

_LEVEL_STYLES = {"debug": "dim", "warning": "yellow", "error": "red", "critical": "bold red"}

# Redis: `7827:M 21 Nov 2026 00:20:52.431 * Ready`. MLflow: `2026/11/21 00:20:52 INFO mlflow...`.
# Both in local time.
_FOREIGN_TIMES = (
    (re.compile(r"^\d+:\w (\d{2} \w{3} \d{4} \d{2}:\d{2}:\d{2}\.\d{3})"), "%d %b %Y %H:%M:%S.%f"),
    (re.compile(r"^(\d{4}/\d{2}/\d{2} \d{2}:\d{2}:\d{2})"), "%Y/%m/%d %H:%M:%S"),
)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of one process' log.

    `time` is its own time. A line without one (a traceback) has the time of the line before.
    """

    name: str
    time: datetime
    text: str
    fields: Mapping[str, Any]


def parse(name: str, text: str, before: datetime) -> Line:
    """Read one line. `before` is the time of the line before it."""
    if text.startswith("{"):
        try:
            fields = msgspec.json.decode(text, type=dict[str, Any])
            when = datetime.fromisoformat(str(fields.get("timestamp", "")))
        except (msgspec.MsgspecError, ValueError):
            return Line(name, before, text, {})
        return Line(name, when if when.tzinfo else when.replace(tzinfo=UTC), text, fields)
    for pattern, form in _FOREIGN_TIMES:
        if match := pattern.match(text):
            return Line(name, datetime.strptime(match[1], form).astimezone(), text, {})
    return Line(name, before, text, {})


def readable(line: Line, named: bool) -> Text:
    """`00:20:52 gateway warning deadline missed model=fraud_detection`."""
    text = Text()
    if named:
        text.append(f"{line.name:<12} ", style="cyan")
    if not line.fields:
        return text.append(line.text)
    fields = dict(line.fields)
    fields.pop("timestamp", None)
    fields.pop("process", None)
    level, event, trace = (
        str(fields.pop("level", "")),
        str(fields.pop("event", "")),
        fields.pop("exception", None),
    )
    text.append(f"{line.time.astimezone():%H:%M:%S} ", style="dim")
    text.append(f"{level:<7} ", style=_LEVEL_STYLES.get(level, ""))
    text.append(event)
    for key, value in fields.items():
        text.append(f" {key}=", style="dim").append(
            value if isinstance(value, str) else msgspec.json.encode(value).decode()
        )
    return text.append(f"\n{trace}") if trace else text


def print_line(line: Line, as_json: bool, named: bool) -> None:
    """One line for a person, or as a JSON object (name, time, text, fields) for a script."""
    if as_json:
        print_json_line(line)
    else:
        out.print(readable(line, named), soft_wrap=True)


def last_of_all(files: Mapping[str, Path], count: int) -> tuple[list[Line], dict[str, int]]:
    """The last `count` lines over all files in the order of time, and each file's size.

    Following starts at these sizes.
    """
    ends = {name: path.stat().st_size for name, path in files.items()}
    # Each file is in order by itself, so merging keeps a traceback together with its line.
    merged = heapq.merge(
        *(_parsed(name, last_lines(path, count)) for name, path in files.items()),
        key=lambda line: line.time,
    )
    return list(merged)[-count:] if count else [], ends


def follow_logs(files: Mapping[str, Path], ends: Mapping[str, int]) -> Iterator[Line]:
    """New complete lines as they are written, without end.

    A file that got shorter was rotated, so it is read from its start.
    """
    positions = dict(ends)
    while True:
        for name, path in files.items():
            if path.stat().st_size < positions[name]:
                positions[name] = 0
            with path.open("rb") as file:
                file.seek(positions[name])
                complete = file.read().rpartition(b"\n")[0]
            if complete:
                positions[name] += len(complete) + 1
                yield from _parsed(name, complete.decode(errors="replace").splitlines())
        time.sleep(FOLLOW_SECONDS)


def _parsed(name: str, lines: Iterable[str]) -> list[Line]:
    parsed: list[Line] = []
    before = datetime.min.replace(tzinfo=UTC)
    for text in lines:
        parsed.append(parse(name, text, before))
        before = parsed[-1].time
    return parsed
