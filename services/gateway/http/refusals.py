"""Says in the log which caller is refused, and for which fields.

Values are not logged, because they are a person's data. One kind is logged once a minute, with its
number. A flood of refusals is no flood of lines.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import NamedTuple

import structlog

from services.gateway.messages.problems import Problem
from services.gateway.messages.trace import Headers

# The caller's request is at fault: it cannot be read, is too large, or has a wrong field.
REFUSED = frozenset({400, 413, 422})

# Between two lines of one kind, wall seconds.
QUIET_SECONDS = 60.0

# Kinds that are remembered. A caller can invent more, and then all are forgotten.
MOST_KINDS = 200
LONGEST_NAME = 80

_INDEX = re.compile(r"\[\d+\]")
_UNPRINTABLE = re.compile(r"[^ -~]")

log = structlog.get_logger()


class _Kind(NamedTuple):
    model: str
    status: int
    caller: str
    fields: str


class Refusals:
    """Refusals of one gateway.

    Args:
        clock: Wall time that only grows, seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told: dict[_Kind, float] = {}
        self._since: dict[_Kind, int] = {}

    def note(self, model: str, problem: Problem, headers: Headers) -> None:
        """Take a refusal. Others than the caller's own fault are passed over."""
        if int(problem.status) not in REFUSED:
            return
        kind = _Kind(model, int(problem.status), _caller(headers), _fields(problem))
        if len(self._told) >= MOST_KINDS and kind not in self._told:
            self._told.clear()
            self._since.clear()
        count = self._since.get(kind, 0) + 1
        now, last = self._clock(), self._told.get(kind)
        if last is not None and now - last < QUIET_SECONDS:
            self._since[kind] = count
            return
        self._told[kind], self._since[kind] = now, 0
        log.warning("refused", **kind._asdict(), times=count)


def _caller(headers: Headers) -> str:
    found = next((value for name, value in headers if name == b"user-agent"), b"")
    return _UNPRINTABLE.sub("?", found.decode("latin-1"))[:LONGEST_NAME] or "unknown"


def _fields(problem: Problem) -> str:
    """Return the wrong fields, without their values and without the instances' numbers."""
    names = dict.fromkeys(_INDEX.sub("[]", error.field) for error in problem.errors)
    text = ", ".join(names) or problem.slug
    return _UNPRINTABLE.sub("?", text)[: 2 * LONGEST_NAME]
