"""How long to wait between two rounds. Pure.

Every round writes one small file per stream that had messages. Files are never merged, because
manifests pin them. So rounds are as rare as readers allow. Readers think in world time: batch
features are computed hours after midnight, performance by the day. Half a world hour per file is
fine for them, and leaves at most 48 files a day and stream. Each file costs a reader 0.2 ms. So 30
days of 10,000 transactions take 0.24 s instead of 0.03 s in one file a day. The bounds below decide
where the world runs very fast or slow.
"""

from __future__ import annotations

from datetime import timedelta

FILE_WORLD_TIME = timedelta(minutes=30)

# At demo speed (3,000 world seconds a second) a file would be due every 0.6 s. A second is soon
# enough for people who watch.
SHORTEST = timedelta(seconds=1)

# At speed 1 a file would be due after half an hour. Until then its events live in Redis alone, and
# its memory is bounded.
LONGEST = timedelta(seconds=60)


def round_interval(speed: float | None) -> timedelta:
    """Wall time between two rounds.

    Args:
        speed: World seconds per wall second, 0 for a paused world, None for a world without a time.
            Both are about to change, so the shortest interval applies.
    """
    if not speed:
        return SHORTEST
    return min(LONGEST, max(SHORTEST, FILE_WORLD_TIME / speed))
