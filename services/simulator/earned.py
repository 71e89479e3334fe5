"""What a decision about a list or a price was worth, when its truth is due.

Pure. The rows are those of WorldDays.outcomes with `place`, the position that was shown. It is null
for what was never shown or offered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from dojo.shop import lists, prices
from dojo.shop.events import Decision, Settlement
from dojo.shop.truths import BOUGHT

Row = Mapping[str, Any]


def settlements_of(decision: Decision, due: Sequence[Row], wall: datetime) -> Iterator[Settlement]:
    """Yield the parts of a decision's worth that are due.

    Args:
        decision: About a list or a price.
        due: Rows of the deciding model's labels about it, those whose truth is due.
        wall: Wall time of the settlements.
    """
    parts = _price_part(due) if decision.action == "priced" else _list_parts(due)
    for row, euro in parts:
        yield settlement(decision, row["request_id"], row["arrival"], wall, euro)


def settlement(
    decision: Decision, part: str, at: datetime, wall: datetime, euro: float
) -> Settlement:
    """Return the worth of a decision, or of the part with this request id, due `at`."""
    return Settlement(
        event_id=Settlement.id_for(decision.model, part),
        world_time=at,
        wall_time=wall,
        model=decision.model,
        version=decision.version,
        arm=decision.arm,
        request_id=decision.request_id,
        request_time=decision.world_time,
        action=decision.action,
        value_euro=euro,
    )


def _price_part(due: Sequence[Row]) -> Iterator[tuple[Row, float]]:
    """Yield the offer with its worth. The units at all considered prices are due together."""
    offered = next((one for one in due if one["place"] is not None), None)
    own = next((one for one in due if one["happens"]), None)
    if offered is not None and own is not None:
        yield (
            offered,
            prices.gain_euro(
                offered["price"], offered["label"], own["price"], own["label"], own["cost"]
            ),
        )


def _list_parts(due: Sequence[Row]) -> Iterator[tuple[Row, float]]:
    """Yield the products whose position changed a purchase, and the one at the top."""
    for one in due:
        if one["place"] is None:
            continue
        bought, would_be = (
            one["grade"] == BOUGHT and position <= one["seen_until"]
            for position in (one["place"], one["position"])
        )
        euro = lists.gain_euro(one["price"], bought, would_be)
        if euro or one["place"] == 1:
            yield one, euro
