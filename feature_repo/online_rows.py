"""Writes rows of the online store in its layout (`online_layout.py`), without Feast.

A row is written only if it is newer than the stored one. A script compares and writes inside Redis.
So the streamer's rows and a simultaneous materialisation cannot undo each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import NamedTuple

from redis import Redis

from feature_repo.catalog import VIEWS
from feature_repo.online_layout import entity_key, layout_of

TIMEOUT = timedelta(seconds=5)  # a hanging Redis must not hold the caller for ever

# One script call occupies Redis for about a millisecond, so that a gateway's lookup behind it still
# meets its deadline.
ROWS_AT_ONCE = 200

# KEYS are hashes of entities. ARGV is the field, then one packed row per key. A last ARGV may give
# the seconds (wall time) after which a written hash is deleted. An unreadable stored row is
# replaced. A stored row of the same time with another schema is replaced too. This happens at the
# first materialisation after a change of the catalogue.
WRITE_NEWER = """
local function is_newer(packed, stored)
    local new, old = cmsgpack.unpack(packed), cmsgpack.unpack(stored)
    return new[2] > old[2] or (new[2] == old[2] and new[1] ~= old[1])
end
local expiry = ARGV[#KEYS + 2]
for at, key in ipairs(KEYS) do
    local readable, newer = pcall(is_newer, ARGV[at + 1], redis.call('HGET', key, ARGV[1]))
    if newer or not readable then
        redis.call('HSET', key, ARGV[1], ARGV[at + 1])
        if expiry then redis.call('EXPIRE', key, expiry) end
    end
end
"""


class OnlineRow(NamedTuple):
    """One entity's values of one view, in the catalogue's order, with None for a missing one.

    `event_time`: the world time at which they became true.
    """

    key: str
    event_time: datetime
    values: Sequence[float | None]


class OnlineRows:
    """The writer. Raises redis.RedisError."""

    def __init__(self, redis: Redis) -> None:
        self._write = redis.register_script(WRITE_NEWER)

    def write(
        self,
        view: str,
        rows: Iterable[OnlineRow],
        progress: Callable[[int], object] | None = None,
    ) -> None:
        """Write the rows of a view of the catalogue. `progress`: told each block's rows."""
        layout, entity, left = layout_of(view), VIEWS[view].entity, iter(rows)
        while block := list(islice(left, ROWS_AT_ONCE)):
            self._write(
                keys=[entity_key(entity, row.key) for row in block],
                args=[layout.field, *(layout.pack(row.event_time, row.values) for row in block)],
            )
            if progress:
                progress(len(block))
