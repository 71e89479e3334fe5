"""State that Redis has lost, until a person answers it: the document `dojo:loss`.

`watch.py` finds the loss and writes the document.
"""

from __future__ import annotations

from datetime import datetime

import msgspec
from redis import Redis

from dojo.core.state.documents import Document

LOSS_FAMILY = "dojo:loss"

# Who puts back, in the audit trail and the inbox.
WHO = "state watch"
NEXT_STEP = "dojo restore --why ..."


class RedisLoss(msgspec.Struct, frozen=True, kw_only=True):
    """State that Redis has lost.

    Attributes:
        lost: What was missing, in words.
        seen: Wall time at which it was last seen.
        found: Wall time at which it was missed.
        entry_id: The audit entry of its latest part.
        answered_by: The person who let automatic actions go on, "" before that.
    """

    lost: tuple[str, ...]
    seen: datetime
    found: datetime
    entry_id: str
    answered_by: str = ""

    def __str__(self) -> str:
        return (
            f"Redis has lost {', '.join(self.lost)} (found {self.found:%Y-%m-%d %H:%M:%S} UTC, wall"
            " time)"
        )


def open_loss(redis: Redis) -> RedisLoss | None:
    """The loss that no person has answered yet. Raises redis.RedisError."""
    loss = loss_document(redis).get()
    return loss if loss is not None and not loss.answered_by else None


def held_back(redis: Redis) -> str:
    """Why nothing is decided automatically; "" when nothing is lost. Raises redis.RedisError."""
    loss = open_loss(redis)
    return f"{loss}: {NEXT_STEP} lets automatic actions go on" if loss else ""


def loss_document(redis: Redis) -> Document[RedisLoss]:
    return Document(redis, LOSS_FAMILY, RedisLoss)
