"""A time limit that costs nothing for a coroutine that need not wait.

`asyncio.timeout` sets and cancels a timer, about a tenth of a whole prediction. A request's body is
almost always there with its head, so reading it needs no timer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


async def within(seconds: float, coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the coroutine's result.

    Raises:
        TimeoutError: The coroutine has waited longer.
    """
    try:
        waits_for = coroutine.send(None)
    except StopIteration as ended:
        return ended.value  # type: ignore[no-any-return]
    async with asyncio.timeout(seconds):
        return await _Rest(coroutine, waits_for)


class _Rest(Generic[T]):
    """The rest of a coroutine that already waits for a future."""

    def __init__(self, coroutine: Coroutine[Any, Any, T], waits_for: Any) -> None:
        self._coroutine = coroutine
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, T]:
        waits_for = self._waits_for
        try:
            while True:
                try:
                    sent = yield waits_for
                except BaseException as error:  # such as the timeout's cancellation
                    waits_for = self._coroutine.throw(error)
                else:
                    waits_for = self._coroutine.send(sent)
        except StopIteration as ended:
            return ended.value  # type: ignore[no-any-return]
