"""Predictions joined to their outcomes as both stream in, in any order, in bounded memory.

The batch form, over the lake, is `dojo/core/performance.py: with_outcomes`. Both find the same
pairs and the same labels: the latest label of a request counts.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Generic, TypeVar

import msgspec

# How many of each kind may wait. The watched 48 h of a shop with 10,000 requests a day hold 20,000.
# A waiting answer takes 10 bytes, or 18 where a value is kept. The time of a label takes 9 more.
# A pair also holds a label. A rollout writes 0.4 to 1.1 MB with every look, three times that when
# all are full.
WAITING_LIMIT = 40_000

Answer = TypeVar("Answer")
Label = TypeVar("Label")


class OutcomeJoin(msgspec.Struct, Generic[Answer, Label], kw_only=True):
    """Holds waiting answers and labels, and the pairs whose label may still be corrected.

    An answer and its label meet once.

    Attributes:
        open: Hash of the request -> answer without a label yet, oldest first.
        early: Hash of the request -> label without an answer yet, oldest first.
        paired: Hash of the request -> answer and its latest label, oldest pair first.
        known_at: Hash of the request -> when its label in `early` or `paired` became known, world
            time, unix seconds.
        forgotten: Answers that left `open` without a label, because too many were waiting.
        limit: Largest size of `open`, of `early` and of `paired`. Beyond it the oldest is
            forgotten.
    """

    open: dict[int, Answer] = {}
    early: dict[int, Label] = {}
    paired: dict[int, tuple[Answer, Label]] = {}
    known_at: dict[int, float] = {}
    forgotten: int = 0
    limit: int = WAITING_LIMIT

    def predicted(self, request_id: str, answer: Answer) -> tuple[Answer, Label] | None:
        """Take an answer. Returns the pair when its label was there already.

        Returns None for a repeated answer of a pair.
        """
        key = short_hash(request_id)
        if key in self.early:
            return self._pair(key, answer, self.early.pop(key))
        if key not in self.paired:
            self.open[key] = answer
            self.forgotten += _drop_oldest(self.open, self.limit) is not None
        return None

    def known(self, request_id: str, label: Label, at: float = 0.0) -> tuple[Answer, Label] | None:
        """Take a label. Returns the pair when its answer was there already.

        The label of a pair is for `corrected`.

        Args:
            at: When it became known, world time, unix seconds.
        """
        key = short_hash(request_id)
        if key in self.paired or at < self.known_at.get(key, at):
            return None
        self.known_at[key] = at
        if key in self.open:
            return self._pair(key, self.open.pop(key), label)
        self.early[key] = label
        self._forget_label(_drop_oldest(self.early, self.limit))
        return None

    def corrected(self, request_id: str, label: Label, at: float) -> tuple[Answer, Label] | None:
        """Give a pair its later label.

        Returns the pair as it was, or None where nothing is corrected.
        """
        key = short_hash(request_id)
        before = self.paired.get(key)
        if before is None or at < self.known_at.get(key, at):
            return None
        self.known_at[key] = at
        self.paired[key] = before[0], label
        return before if before[1] != label else None

    def _pair(self, key: int, answer: Answer, label: Label) -> tuple[Answer, Label]:
        self.paired[key] = answer, label
        self._forget_label(_drop_oldest(self.paired, self.limit))
        return answer, label

    def _forget_label(self, key: int | None) -> None:
        if key is not None:
            self.known_at.pop(key, None)


def short_hash(text: str) -> int:
    """63 bits: two of 40,000 keys collide with probability 1e-10."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def _drop_oldest(waiting: dict[int, Answer], limit: int) -> int | None:
    """Return the key that had to go."""
    if len(waiting) <= limit:
        return None
    oldest = next(iter(waiting))
    del waiting[oldest]
    return oldest
