"""When a supervised process is started, restarted or ended as hanging.

Pure functions over its life so far.

    waiting -> starting -> healthy <-> unhealthy
                  |           |            |
                  +-----------+------------+--> backoff -> starting ...

Times are monotonic seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

# A crash loop must neither burn a core nor fill the disk with logs. A single crash should cost a
# second.
FIRST_DELAY_SECONDS = 1.0
LONGEST_DELAY_SECONDS = 30.0

# After this long in health, earlier deaths say nothing about the next one.
FORGIVEN_AFTER_SECONDS = 60.0


class ProcessState(StrEnum):
    """Where a process is in its life."""

    WAITING = "waiting"  # for its dependencies
    STARTING = "starting"  # runs, has not been healthy yet
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"  # runs, was healthy, now fails its check or does not answer it
    BACKOFF = "backoff"  # died, will be started again after a delay
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Life:
    """One process' history, as far as decisions need it.

    Attributes:
        since: When `state` began. For UNHEALTHY, when the patience with it began.
        deaths: Deaths in a row, since it was last healthy for FORGIVEN_AFTER_SECONDS.
        restarts: Starts after the first.
        ever_healthy: Whether it was healthy at least once since the supervisor started.
    """

    state: ProcessState = ProcessState.WAITING
    since: float = 0.0
    deaths: int = 0
    restarts: int = 0
    ever_healthy: bool = False


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a running process may fail its check before it counts as hanging, seconds."""

    starting: float
    unhealthy: float


def delay(deaths: int) -> float:
    """Seconds between the latest death and the next start: 1, 2, 4, ... 30."""
    # The exponent is capped first, so that a crash loop of days does not overflow.
    return min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** min(deaths - 1, 16))


def is_due(life: Life, now: float) -> bool:
    """Whether it is to be started now, as far as its own history says."""
    if life.state is ProcessState.BACKOFF:
        return now - life.since >= delay(life.deaths)
    return life.state is ProcessState.WAITING


def started(life: Life, now: float) -> Life:
    again = life.state is ProcessState.BACKOFF
    return replace(life, state=ProcessState.STARTING, since=now, restarts=life.restarts + again)


def died(life: Life, now: float) -> Life:
    """It exited, or was killed for hanging."""
    return replace(
        forgiven(life, now),
        state=ProcessState.BACKOFF,
        since=now,
        deaths=forgiven(life, now).deaths + 1,
    )


def forgiven(life: Life, now: float) -> Life:
    """Its deaths no longer count once it has been healthy for long enough."""
    if life.state is ProcessState.HEALTHY and now - life.since >= FORGIVEN_AFTER_SECONDS:
        return replace(life, deaths=0)
    return life


def observed(life: Life, healthy: bool, excused: bool, now: float) -> Life:
    """The latest health check of a running process.

    Args:
        excused: Whether one of its dependencies is itself away. A kill would not bring that back.
            So patience starts anew when the dependency returns.
    """
    if healthy and life.state in (ProcessState.STARTING, ProcessState.UNHEALTHY):
        return replace(life, state=ProcessState.HEALTHY, since=now, ever_healthy=True)
    if not healthy and life.state is ProcessState.HEALTHY:
        return replace(forgiven(life, now), state=ProcessState.UNHEALTHY, since=now)
    if excused and life.state in (ProcessState.STARTING, ProcessState.UNHEALTHY):
        return replace(life, since=now)
    return forgiven(life, now)


def is_hanging(life: Life, patience: Patience, now: float) -> bool:
    """Whether it has failed its checks for so long that a restart is the better bet."""
    waited = now - life.since
    if life.state is ProcessState.STARTING:
        return waited > patience.starting
    return life.state is ProcessState.UNHEALTHY and waited > patience.unhealthy


def stopped(life: Life, now: float) -> Life:
    return replace(life, state=ProcessState.STOPPED, since=now)
