"""Outcomes joined to the predictions of the watch stage, in whatever order the two arrive, in bounded memory."""

from __future__ import annotations

from hashlib import blake2b

import msgspec

# Predictions that wait for their label, and labels that wait for their prediction. The watched 48 h of a shop with 10,000 payments a day
# hold 20,000; at 10 bytes each this is 0.4 MB that is written with every look. Beyond it the oldest are forgotten: fewer labels count.
KEPT = 40_000


class LabelJoin(msgspec.Struct):
    """Predictions with a known outcome.

    Attributes:
        frauds, caught: labelled frauds, and those of them that were flagged. `legitimate`, `false_alarms`: likewise of the others.
        open: hash of the request -> whether it was flagged, oldest first. `early`: hash -> label.
        forgotten: predictions that left `open` without a label.
    """

    frauds: int = 0
    caught: int = 0
    legitimate: int = 0
    false_alarms: int = 0
    open: dict[int, bool] = {}
    early: dict[int, bool] = {}
    forgotten: int = 0

    def predicted(self, request_id: str, flagged: bool) -> tuple[bool, bool] | None:
        """A prediction was made. Returns (fraud, flagged) when its label was there already."""
        key = short_hash(request_id)
        if (fraud := self.early.pop(key, None)) is not None:
            return self._count(fraud, flagged)
        self.open[key] = flagged
        if len(self.open) > KEPT:
            self.open.pop(next(iter(self.open)))
            self.forgotten += 1
        return None

    def known(self, request_id: str, fraud: bool) -> tuple[bool, bool] | None:
        """A label arrived. Returns (fraud, flagged) when its prediction was there already."""
        key = short_hash(request_id)
        if (flagged := self.open.pop(key, None)) is not None:
            return self._count(fraud, flagged)
        self.early[key] = fraud
        if len(self.early) > KEPT:
            self.early.pop(next(iter(self.early)))
        return None

    def _count(self, fraud: bool, flagged: bool) -> tuple[bool, bool]:
        if fraud:
            self.frauds += 1
            self.caught += flagged
        else:
            self.legitimate += 1
            self.false_alarms += flagged
        return fraud, flagged


def short_hash(text: str) -> int:
    """63 bits: two of 40,000 keys collide with probability 1e-10."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
