"""The harness of every long-running process, for the work that all of them share.

    settings -> logs -> signals -> open -> /healthz and /metrics -> round, wait, round, ... -> close

A service is a class with a `round`. `serve` runs it until SIGTERM, also while a server that it
needs is down.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Self

import structlog
from redis.exceptions import RedisError

from dojo.core.private import keep_private
from dojo.core.registry.errors import RegistryUnavailableError
from dojo.core.settings import Settings, SettingsError, load_settings
from dojo.core.spec.read import SpecError
from dojo.core.specs_in_use import SpecsInUse
from dojo.core.state.clock import ClockNotSetError
from dojo.core.telemetry import HealthServer, Post, configure_logging

# Another start would end the same way, as opposed to a crash (1).
EXIT_WRONG_SETTINGS = 2

_log = structlog.get_logger("service")


@dataclass(frozen=True, slots=True)
class Cause:
    """A kind of error that a round may end with.

    Attributes:
        name: What is away or broken. In lower case the label of the service's failure counter.
        errors: The types that it covers.
        healthy: Whether /healthz stays 200. True where a restart would cure nothing.
    """

    name: str
    errors: type[Exception] | tuple[type[Exception], ...]
    healthy: bool = True


REDIS = Cause("Redis", RedisError)
REGISTRY = Cause("registry", RegistryUnavailableError)
UNFORESEEN = Cause("unforeseen", Exception, healthy=False)

# For a service that no error makes unhealthy: it says what fails, and repeats it.
ANY_ERROR = Cause("error", Exception)


class Service(ABC):
    """The work of one process, done in rounds.

    Attributes:
        causes: Errors that the service expects. The first that fits counts, UNFORESEEN after all
            of them.
        backoff: Seconds until the next round after one, two ... failed rounds in a row. The last
            one repeats.
        stuck_after: Seconds after which a round that has not ended turns /healthz to 503.
        posts: What answers a POST, by path.
    """

    causes: ClassVar[tuple[Cause, ...]] = (REDIS, REGISTRY)
    backoff: ClassVar[tuple[float, ...]] = (0.2, 0.5, 1.0, 2.0, 5.0)
    # Catching up after a day's outage takes 10 s, a dozen questions to an absent MLflow a minute.
    stuck_after: ClassVar[float] = 120.0
    posts: Mapping[str, Post] = {}

    def __init__(self) -> None:
        self._state, self._reason = "starting", ""
        self._faults: dict[str, tuple[str, bool]] = {}  # part of the round -> reason, healthy
        self._failing = False  # this round
        self._paused: dict[str, float] = {}  # part -> the monotonic time of its next try
        self._failures = 0  # rounds in a row
        self._busy_since: float | None = None
        self._specs_in_use: SpecsInUse | None = None

    def using(self, specs: SpecsInUse) -> Self:
        """Show on /healthz which specs the process read, and whether their files differ now."""
        self._specs_in_use = specs
        return self

    @abstractmethod
    def round(self, stop: threading.Event) -> float:
        """Do what is due, and end early once `stop` is set.

        Returns seconds to wait until the next round.
        """

    def failed(self, cause: str, part: str) -> None:  # noqa: B027 -- optional
        """Count a failure, and forget what it may have left half done."""

    def details(self) -> Mapping[str, object]:
        """What /healthz says beside the state. The health server's thread calls it."""
        return {}

    def close(self) -> None:  # noqa: B027 -- optional
        """Give back what others may take over at once. Called after the last round."""

    def say(self, state: str, reason: str = "") -> None:
        """Set what /healthz says while nothing fails."""
        self._state, self._reason = state, reason

    def waits_for(self, part: str, reason: str) -> None:
        """Show what a part of the round lacks, though it went well. Call it after the part."""
        self._faults.setdefault(part, (reason, True))

    def due(self, part: str) -> bool:
        """Whether a part that failed with a pause may be tried again."""
        return time.monotonic() >= self._paused.get(part, 0.0)

    @contextmanager
    def part(self, name: str, pause: float = 0.0) -> Iterator[None]:
        """Guard a part of the round: its failure must not stop the others. The whole is part "".

        Args:
            pause: Wall seconds until a failed part is `due` again. Then the rounds go on at their
                pace.
        """
        try:
            yield
        except SettingsError:
            raise
        except ClockNotSetError as error:  # history is still being built: waited for, not counted
            self._faults[name], self._failing = (str(error), True), True
        except Exception as error:
            cause = next(
                (cause for cause in self.causes if isinstance(error, cause.errors)), UNFORESEEN
            )
            unnamed = cause.errors is Exception
            reason = (
                f"{cause.name}: {type(error).__name__}: {error}"
                if unnamed
                else f"{cause.name}: {error}"
            )
            # A lasting fault must not fill the disk with tracebacks.
            news = self._faults.get(name) != (reason, cause.healthy)
            self._faults[name] = reason, cause.healthy
            if pause:
                self._paused[name] = time.monotonic() + pause
            else:
                self._failing = True
            _log.warning(
                "round failed, it is repeated", part=name, reason=reason, exc_info=unnamed and news
            )
            self.failed(cause.name.lower(), name)
        else:
            self._faults.pop(name, None)

    def turn(self, stop: threading.Event) -> float:
        """Do one round and catch its errors. Returns seconds to wait until the next."""
        self._busy_since, self._failing, wait = time.monotonic(), False, 0.0
        with self.part(""):
            wait = self.round(stop)
        self._busy_since = None
        if self._failing:
            self._failures += 1
            return self.backoff[min(self._failures, len(self.backoff)) - 1]
        if self._failures:
            _log.info("going on again", after_failures=self._failures)
        self._failures = 0
        return wait

    def health(self) -> tuple[bool, Mapping[str, object]]:
        """Whether the process is well, and what it says. Other threads call it during a round."""
        busy_since = self._busy_since
        if busy_since is not None and (busy := time.monotonic() - busy_since) > self.stuck_after:
            return False, {"state": "stuck", "reason": f"one round has taken {busy:.0f} s so far"}
        faults = dict(self._faults)
        healthy = all(well for _, well in faults.values())
        state = self._state if not faults else "retrying" if healthy else "failing"
        reason, _ = faults.pop("", (self._reason, True))
        specs = {"specs": self._specs_in_use.look()} if self._specs_in_use else {}
        parts = {"faults": {part: why for part, (why, _) in faults.items()}} if faults else {}
        return healthy, {
            "state": state,
            **({"reason": reason} if reason else {}),
            **parts,
            **self.details(),
            **specs,
        }


def serve(name: str, open_service: Callable[[Settings], Service]) -> int:
    """Run a service until SIGTERM. Returns the exit code.

    /healthz and /metrics are on DOJO_<NAME>_PORT.
    """

    def run(settings: Settings) -> int:
        stop = stop_on_signal()
        service = open_service(settings)
        with HealthServer(
            settings.host, settings.port_of(name), service.health, posts=service.posts
        ):
            while not stop.is_set():
                stop.wait(service.turn(stop))
            service.close()
        return 0

    return run_process(name, run)


def run_process(name: str, run: Callable[[Settings], int]) -> int:
    """Load the settings, configure logs, and run. Returns the exit code.

    Files of the process and its children are private. Wrong settings and specs end it with
    EXIT_WRONG_SETTINGS and a message on stderr.
    """
    keep_private()
    try:
        settings = load_settings()
        configure_logging(name, settings.log_level)
        return run(settings)
    except (SettingsError, SpecError) as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_WRONG_SETTINGS


def stop_on_signal() -> threading.Event:
    """An event that SIGTERM or SIGINT sets. Call it on the main thread."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
