"""Predictions joined to their outcomes as both stream in, in whatever order, in bounded memory.

The batch form, over the lake, is `dojo/core/performance.py: with_outcomes`. Both find the same pairs.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Generic, TypeVar

import msgspec

# Of each kind that may wait. The watched 48 h of a shop with 10,000 requests a day hold 20,000.
# An entry takes 10 bytes, or 18 where a value is kept: a rollout writes 0.4 to 0.7 MB with every look, twice that when both are full.
WAITING_LIMIT = 40_000

Answer = TypeVar("Answer")
Label = TypeVar("Label")


class OutcomeJoin(msgspec.Struct, Generic[Answer, Label], kw_only=True):
    """Holds what waits for its other half. An answer and its label meet once and are then gone.

    Attributes:
        open: Hash of the request -> answer without a label yet, oldest first.
        early: Hash of the request -> label without an answer yet, oldest first.
        forgotten: Answers that left `open` without a label, because too many were waiting.
        limit: Largest size of `open` and of `early`. Beyond it the oldest is forgotten.
    """

    open: dict[int, Answer] = {}
    early: dict[int, Label] = {}
    forgotten: int = 0
    limit: int = WAITING_LIMIT

    def predicted(self, request_id: str, answer: Answer) -> tuple[Answer, Label] | None:
        """Take an answer. Returns the pair when its label was there already."""
        key = short_hash(request_id)
        if key in self.early:
            return answer, self.early.pop(key)
        self.open[key] = answer
        self.forgotten += _drop_oldest(self.open, self.limit)
        return None

    def known(self, request_id: str, label: Label) -> tuple[Answer, Label] | None:
        """Take a label. Returns the pair when its answer was there already."""
        key = short_hash(request_id)
        if key in self.open:
            return self.open.pop(key), label
        self.early[key] = label
        _drop_oldest(self.early, self.limit)
        return None


def short_hash(text: str) -> int:
    """63 bits: two of 40,000 keys collide with probability 1e-10."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def _drop_oldest(waiting: dict[int, Answer], limit: int) -> bool:
    if len(waiting) <= limit:
        return False
    del waiting[next(iter(waiting))]
    return True
