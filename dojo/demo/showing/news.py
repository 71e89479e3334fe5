"""Messages of the responder and the rollout controller to the owner while the demo runs.

Each takes a line. It says what is wrong, and what is done or why nothing is done.
"""

from __future__ import annotations

from contextlib import suppress

from redis import Redis
from redis.exceptions import RedisError

from dojo.core.state.inbox import Inbox, Message, is_from

# Messages read at once. A burst of alerts at the demo's speed is a tenth of it.
NEWEST = 200

# How the responder begins the line of its message with the next step.
INTENDED = (
    "Nothing is done",
    "The champion is evaluated",
    "The model is retrained",
    "The version is rolled back",
    "Would be next",
)


class News:
    """The responder's messages about one model since this object was made, each once."""

    def __init__(self, redis: Redis, model: str) -> None:
        self._inbox, self._model = Inbox(redis), model
        self._known = {message.message_id for message in self._inbox.newest(NEWEST)}
        self.last: Message | None = None

    def look(self) -> list[Message]:
        """New messages, oldest first. A Redis that is away brings none."""
        found: list[Message] = []
        with suppress(RedisError):
            found = [
                m
                for m in self._inbox.newest(NEWEST)[::-1]
                if m.message_id not in self._known and self._is_ours(m)
            ]
        self._known |= {message.message_id for message in found}
        self.last = found[-1] if found else self.last
        return found

    def _is_ours(self, message: Message) -> bool:
        return message.model == self._model and is_from(message, "responder")


def line(message: Message) -> str:
    """One message as one line: time, event and next step."""
    title = message.title.removeprefix(f"{message.model}: ")
    when = f"{message.world_time:%m-%d %H:%M}  " if message.world_time else ""
    parts = [
        sentence.strip() for text in message.text.splitlines() for sentence in text.split(". ")
    ]
    intended = next((part for part in parts if part.startswith(INTENDED)), "")
    return f"{when}{title}{f'. {intended}' if intended else ''}"
