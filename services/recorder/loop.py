"""Recording for ever: through a full disk, an absent Redis and another recorder's presence, saying how it goes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import timedelta

import structlog
from polars.exceptions import PolarsError
from redis.exceptions import RedisError

from services.recorder.metrics import RecorderMetrics
from services.recorder.ownership import LOCK_FILE, LakeOwnership, remove_leftovers
from services.recorder.pace import retry_interval
from services.recorder.recorder import Recorder

# A round that takes longer is stuck (a hanging disk): 600,000 waiting messages take half of it. Seconds.
STUCK_AFTER = 60.0

# How soon a waiting recorder takes over from one that died. Asking costs one system call.
STANDBY_SECONDS = 0.1

_log = structlog.get_logger()


class RecorderStatus:
    """How it goes, for /healthz; written by the loop, read by the health server's thread."""

    def __init__(self) -> None:
        self._state, self._reason, self._healthy = "starting", "", True
        self._busy_since: float | None = None

    def begin(self) -> None:
        self._busy_since = time.monotonic()

    def end(self, state: str, reason: str = "", healthy: bool = True) -> None:
        self._state, self._reason, self._healthy, self._busy_since = state, reason, healthy, None

    def health(self) -> tuple[bool, Mapping[str, object]]:
        busy_since = self._busy_since
        if busy_since is not None and (busy := time.monotonic() - busy_since) > STUCK_AFTER:
            return False, {"state": "stuck", "reason": f"one round has taken {busy:.0f} s so far"}
        details = {"state": self._state}
        return self._healthy, {**details, "reason": self._reason} if self._reason else details


def run(
    recorder: Recorder,
    ownership: LakeOwnership,
    status: RecorderStatus,
    metrics: RecorderMetrics,
    stop: threading.Event,
    interval: Callable[[], timedelta],
) -> None:
    """Record until `stop` is set.

    Args:
        interval: wall time to wait until the next round.
    """
    recovered, failures = False, 0
    while not stop.is_set():
        status.begin()
        try:
            if not ownership.acquire():
                status.end("waiting", f"another recorder writes to this lake (process {ownership.owner()}, by {LOCK_FILE})")
                stop.wait(STANDBY_SECONDS)
                continue
            if not recovered:
                remove_leftovers(ownership.root)
                recorder.recover(stop.is_set)
                recovered = True
            recorder.drain(stop.is_set)
        except RedisError as error:
            # Not our failure, and nothing a restart would cure: /healthz stays ok and says what we wait for.
            cause, reason, healthy = "redis", f"Redis: {error}", True
        except (OSError, PolarsError) as error:
            cause, reason, healthy = "lake", f"lake: {error}", False
        except Exception as error:  # the outermost loop: an unforeseen fault must not stop recording for good
            cause, reason, healthy = "unforeseen", f"unforeseen: {error!r}", False
            _log.exception("unforeseen fault")
        else:
            if failures:
                _log.info("recording again", after_failures=failures)
            failures = 0
            status.end("recording")
            stop.wait(interval().total_seconds())
            continue
        # Whatever failed, some messages may be read and not acknowledged: start over with those.
        recovered = False
        failures += 1
        metrics.failures.labels(cause).inc()
        status.end("retrying" if healthy else "failing", reason, healthy)
        _log.warning("round failed", cause=cause, reason=reason, failures=failures)
        stop.wait(retry_interval(failures).total_seconds())
    ownership.release()
