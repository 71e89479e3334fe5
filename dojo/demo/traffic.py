"""Watching traffic: frames on a terminal, elsewhere a line at times.

The world runs at the demo's speed, or slower if the machine cannot follow (pace.py). Afterwards it
returns to its everyday speed.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from redis.exceptions import RedisError
from rich.console import Console, RenderableType
from rich.live import Live

from dojo.core.state.clock import ClockNotSetError, RedisWorldClock
from dojo.demo.pace import Pace
from dojo.demo.showing.view import Frame
from dojo.demo.showing.watch import Watcher
from dojo.demo.steps import StepFailedError, print_line

# Frames per second: enough to look alive, cheap enough to leave the cores to the stack.
FRAMES_PER_SECOND = 2.0

# Wall seconds. The supervisor restarts a dead simulator within seconds. After this time the viewer
# is told.
LONGEST_STANDSTILL_SECONDS = 120.0


@contextmanager
def at_speed(clock: RedisWorldClock, speed: float, everyday: float) -> Iterator[Pace]:
    """Run the world at `speed` inside the block, and at its everyday speed after it.

    Args:
        speed: World seconds per wall second. 0 stands still.
        everyday: Speed after the block, in the same unit.

    Raises:
        StepFailedError: The world could not be set back.
    """
    try:
        clock.set_speed(speed)
        yield Pace(speed)
    finally:
        # A second Ctrl-C waits until the world is set back.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            clock.set_speed(everyday)
        except (RedisError, ClockNotSetError) as error:
            raise StepFailedError(
                f"the world may go on at another speed than {everyday:g} ({error}): `dojo world"
                " resume`"
            ) from error
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def watch(
    console: Console,
    watcher: Watcher,
    clock: RedisWorldClock,
    pace: Pace,
    done: Callable[[Frame], bool],
    frame: Callable[[Frame], RenderableType],
    line: Callable[[Frame], str],
    line_every: timedelta,
) -> bool:
    """Show the present until `done`, at the pace.

    Returns False when the viewer interrupted it (Ctrl-C).

    Args:
        line_every: World time from one line to the next, where no terminal shows frames.

    Raises:
        StepFailedError: World time stands still.
    """

    def look_again() -> Frame:
        time.sleep(1 / FRAMES_PER_SECOND)
        look = watcher.look()
        if clock.standstill().total_seconds() > LONGEST_STANDSTILL_SECONDS:
            raise StepFailedError(
                f"the world stands still at {look.world:%Y-%m-%d %H:%M}: `dojo logs simulator`"
                " shows why"
            )
        keep_pace(console, clock, pace, look)
        return look

    try:
        look = watcher.look()
        if console.is_terminal:
            with Live(
                frame(look), console=console, refresh_per_second=FRAMES_PER_SECOND, transient=False
            ) as live:
                while not done(look):
                    look = look_again()
                    live.update(frame(look))
        else:
            printed = look.world
            while not done(look):
                look = look_again()
                if look.world - printed >= line_every:
                    printed = look.world
                    print_line(console, line(look))
    except KeyboardInterrupt:
        console.print("watching ended; the stack goes on")
        return False
    return True


def keep_pace(console: Console, clock: RedisWorldClock, pace: Pace, look: Frame) -> None:
    """Slow the world down while features are late, and say so."""
    now, before = time.monotonic(), pace.speed
    if (speed := pace.wanted(look.freshness, look.world, now)) == before:
        return
    try:
        clock.set_speed(speed)
    except RedisError:  # away for a moment: the next frame tries again
        return
    pace.set(speed, now)
    if not pace.told:
        pace.told = True
        print_line(
            console,
            f"features are late at {before:g} world seconds per second: the world goes slower until"
            " they are fresh",
        )
