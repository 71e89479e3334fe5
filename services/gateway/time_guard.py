"""Which callers may say when something happens.

A caller who sets the time freely chooses features. An hour later, the last hour is empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from hmac import compare_digest

from services.gateway.clock import GatewayClock
from services.gateway.messages.problems import FieldError, invalid_request
from services.gateway.messages.requests import Instance

Headers = Iterable[tuple[bytes, bytes]]


class TimeGuard:
    """Refuses times away from the world's now, except from callers with the time key.

    Without a world clock no time can be judged: the answer then says `world_clock_unset`.

    Args:
        tolerance: World time on both sides of now.
        key: What such a caller sends as its bearer token.
    """

    def __init__(self, clock: GatewayClock, tolerance: timedelta, key: str) -> None:
        self._clock = clock
        self._tolerance = tolerance
        self._key = key.encode()

    def check(self, time_input: str, instances: Sequence[Instance], headers: Headers) -> None:
        """Raises Problem: 422, a time is too far from the world's now.

        Args:
            time_input: The instances' field of the time.
            headers: Of the request, as ASGI has them. Read only when a time is too far.
        """
        for one in instances:
            if getattr(one, time_input) is not None:
                break
        else:
            return  # the usual request ends here, after a comparison an instance
        if not self._clock.is_set:
            return
        now, tolerance = self._clock.now(), self._tolerance
        times = ((at, getattr(one, time_input)) for at, one in enumerate(instances))
        far = [(at, time) for at, time in times if time is not None and abs(time - now) > tolerance]
        if far and not self._has_key(headers):
            expected = (
                f"at most {tolerance.total_seconds():g} s of world time from the world's now,"
                f" {_shown(now)}: leave it out, or send the time key as bearer token"
                " (docs/settings.md: DOJO_TIME_KEY)"
            )
            raise invalid_request(
                [
                    FieldError(f"instances[{at}].{time_input}", _shown(time), expected)
                    for at, time in far
                ]
            )

    def _has_key(self, headers: Headers) -> bool:
        for name, value in headers:
            if name == b"authorization":
                scheme, _, token = value.partition(b" ")
                return scheme.lower() == b"bearer" and compare_digest(token.strip(), self._key)
        return False


def _shown(time: datetime) -> str:
    try:
        time = time.astimezone(UTC)
    except OverflowError:  # the calendar's first and last hours, in another zone
        return time.isoformat()
    return time.isoformat(timespec="seconds").replace("+00:00", "Z")
