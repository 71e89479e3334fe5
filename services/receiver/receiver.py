"""The path of a notification.

Each alert becomes a message in the inbox, each sign of life is noted, each malformed body is set
aside.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Literal

import structlog
from redis import Redis
from redis.exceptions import RedisError

from dojo.core.events.dead_letters import DeadLetters
from dojo.core.events.log import Delivery
from dojo.core.service import ANY_ERROR, REDIS, Service
from dojo.core.state.clock import ClockNotSetError, WorldClock
from dojo.core.state.inbox import Notice, Notifier
from dojo.core.telemetry import Reply
from services.receiver.messages import (
    PLATFORM,
    hidden_notice,
    notice_of,
    recovery_notice,
    silence_notice,
    subject_of,
    team_of,
)
from services.receiver.metrics import ReceiverMetrics
from services.receiver.payload import MalformedPayloadError, decode
from services.receiver.silences import Silence, Silences
from services.receiver.watchdog import Watchdog, steady_clock

Channel = Literal["chat", "pager", "watchdog"]
CHANNELS: tuple[Channel, ...] = ("chat", "pager", "watchdog")

_log = structlog.get_logger("receiver")

LOOK_SECONDS = 1.0  # wall time between looks at the watchdog, against a limit of two minutes
SILENCES_SECONDS = 15.0  # wall time, between questions to Alertmanager


class Receiver(Service):
    """Files notifications as they arrive, on the server's threads.

    Rounds look at the watchdog and at silences.

    Alertmanager repeats a notification after a 5xx and gives it up after a 4xx.
    """

    causes = (REDIS, ANY_ERROR)

    def __init__(
        self,
        redis: Redis,
        clock: WorldClock,
        watchdog: Watchdog,
        silences: Silences,
        metrics: ReceiverMetrics,
        wall: Callable[[], datetime],
    ) -> None:
        super().__init__()
        self.posts = {f"/{channel}": partial(self.receive, channel) for channel in CHANNELS}
        self._redis, self._dead_letters = redis, DeadLetters(redis, "receiver", CHANNELS)
        self._clock, self._watchdog = clock, watchdog
        self._silences, self._metrics, self._wall, self._steady = (
            silences,
            metrics,
            wall,
            steady_clock(wall()),
        )
        self._silences_due = 0.0
        self._active: Sequence[Silence] | None = None  # silences, None for unknown

    def receive(self, channel: Channel, body: bytes) -> Reply:
        try:
            notification = decode(body)
        except MalformedPayloadError as error:
            return self._set_aside(channel, body, str(error))
        if channel == "watchdog":
            return self._bark(sum(alert.status == "firing" for alert in notification.alerts))
        notifier, told = Notifier(self._redis, f"alertmanager/{channel}"), 0
        try:
            for alert in notification.alerts:
                notice = notice_of(alert, channel)
                told += notifier.tell(team_of(alert), subject_of(alert), notice, self._world_time())
        except RedisError as error:
            self._metrics.undelivered.inc()
            _log.warning(
                "the inbox takes no message; Alertmanager will repeat it",
                channel=channel,
                error=str(error),
            )
            return Reply(503, "the inbox is out of reach: send it again")
        for alert in notification.alerts:
            self._metrics.alerts.labels(channel, alert.status).inc()
        names = sorted({alert.labels.get("alertname", "?") for alert in notification.alerts})
        _log.info("told", channel=channel, names=names, alerts=len(notification.alerts), new=told)
        return Reply(200, f"{told} new of {len(notification.alerts)}")

    def round(self, stop: threading.Event) -> float:
        """Tell of the watchdog's silence, or of its end, until the inbox has taken it."""
        now, steady = self._wall(), self._steady()
        if (change := self._watchdog.untold(steady)) is not None:
            write = silence_notice if change.kind == "silent" else recovery_notice
            last = (now - (steady - change.last)).replace(microsecond=0)
            self._tell(write(last, change.lasted))
            self._watchdog.told(change)
            _log.warning("watchdog", state=change.kind, since=change.last.isoformat())
        if time.monotonic() >= self._silences_due:
            self._silences_due = time.monotonic() + SILENCES_SECONDS
            self._active = self._silences.look(now)
            for silence in filter(lambda silence: silence.hides_its_own_alert, self._active or ()):
                self._tell(hidden_notice(silence.id, str(silence)))
        self.say("receiving")
        return LOOK_SECONDS

    def _tell(self, notice: Notice) -> None:
        """Say something of the platform's own, past Alertmanager."""
        Notifier(self._redis, "receiver").tell(PLATFORM, "platform", notice, self._world_time())

    def failed(self, cause: str, part: str) -> None:
        self._metrics.undelivered.inc()

    def details(self) -> Mapping[str, object]:
        silences = (
            "unknown: Alertmanager does not answer"
            if self._active is None
            else [str(one) for one in self._active]
        )
        return {
            "watchdog": f"{self._watchdog.age(self._steady()).total_seconds():.0f} s ago",
            "silences": silences,
        }

    def _bark(self, firing: int) -> Reply:
        if firing:
            self._watchdog.bark(self._steady())
            self._metrics.watchdog.set(self._wall().timestamp())
            self._metrics.alerts.labels("watchdog", "firing").inc(firing)
        return Reply(200, "heard")

    def _set_aside(self, channel: Channel, body: bytes, reason: str) -> Reply:
        request = Delivery(f"{self._wall().timestamp() * 1000:.0f}-0", body)
        try:
            self._dead_letters.keep(channel, [(request, reason)])
        except RedisError as error:
            return Reply(503, f"it cannot be kept now ({error}): {reason}")
        return Reply(400, reason)

    def _world_time(self) -> datetime | None:
        try:
            return self._clock.now()
        except (ClockNotSetError, RedisError):
            return None
