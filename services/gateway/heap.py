"""Keeping the garbage collector's full collections short.

A full collection looks at every object and stops every request meanwhile: 49 ms with this process' libraries, every few seconds under
load. That is a whole feature timeout for all requests in flight. What is alive after start-up stays alive, so it need not be looked at
again.
"""

from __future__ import annotations

import gc

# New containers between two collections of the youngest. A request makes about 100 that die with it: the default of 700 would look
# for cycles every seventh request, and there are none.
YOUNG_CONTAINERS = 20_000


def freeze_heap() -> None:
    """Take everything that is alive now out of the collector's sight, and let it look less often. Call after large imports."""
    gc.set_threshold(YOUNG_CONTAINERS)
    gc.collect()
    gc.freeze()
