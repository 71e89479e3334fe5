"""Drift that people cause, as a table of what is done to the world, when and how strongly.

One document, `dojo:world:drift`, holds a list of ActiveDrift in the order of their start. Ended
drifts stay in it.

`dojo world drift` writes it. The simulator reads it before every batch. The effect of each kind on
a payment is in services/simulator/drift/drifted_days.py. The materializer reads it before every
run. The services that have to *find* drift never read it.

The command reads the clock a moment before it writes the table. Payments of that moment may then
already exist. So a bound counts once the simulator has *taken* it. If a new bound lies before the
time already simulated, `settled` moves it to the end of that time. From then on it never changes. A
payment's drift depends on its world time alone, before and after any restart.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from uuid import uuid4

import msgspec
from redis import Redis

from dojo.core.spec.durations import format_duration
from dojo.core.state.atomic import ConflictError
from dojo.core.state.audit import Entry
from dojo.core.state.documents import Document, Stored
from dojo.shop.drift_kinds import KINDS, SUDDEN, Kind

DRIFT_KEY = "dojo:world:drift"


class DriftError(ValueError):
    """A drift cannot be started or stopped. The message says why and what would be right."""


class ActiveDrift(msgspec.Struct, frozen=True, kw_only=True):
    """One drift, from `started` to before `ended`. Times are world time, UTC.

    Attributes:
        kind: Kind of drift.
        started: Start of the drift.
        strength: Strength at full intensity, in the kind's unit (`KINDS`).
        ramp: World duration over which the intensity grows from 0 to 1. 0 is at once. It always
            falls at once.
        ended: End of the drift. None while it goes on.
        who: Who started it.
        why: Why it was started.
        started_settled: True if `started` is final (`settled`).
        ended_settled: True if `ended` is final (`settled`).
        hidden: True while a drill keeps it to itself. No list, metric, log or audit names it.
    """

    kind: Kind
    started: datetime
    strength: float
    ramp: timedelta = SUDDEN
    ended: datetime | None = None
    who: str = ""
    why: str = ""
    started_settled: bool = False
    ended_settled: bool = False
    hidden: bool = False

    def intensity(self, now: datetime) -> float:
        """Return the part of the drift present at a world time, from 0 to 1."""
        if now < self.started or (self.ended is not None and now >= self.ended):
            return 0.0
        return 1.0 if self.ramp <= SUDDEN else min(1.0, (now - self.started) / self.ramp)


def new_drift(
    kind: str,
    started: datetime,
    strength: float | None = None,
    ramp: timedelta | None = None,
    who: str = "",
    why: str = "",
) -> ActiveDrift:
    """Return a drift with its kind's defaults filled in.

    Raises:
        DriftError: The kind is unknown, or cannot have this strength or ramp.
    """
    if kind not in KINDS:
        raise DriftError(f"{kind!r} is no kind of drift; those are {', '.join(KINDS)}")
    about = KINDS[kind]
    strength = about.default if strength is None else strength
    if not about.lowest <= strength <= about.highest:
        raise DriftError(
            f"{kind}: strength is {strength:g}, wanted {about.lowest:g} to {about.highest:g}"
            f" {about.unit}"
        )
    ramp = (about.ramp or SUDDEN) if ramp is None else ramp
    if ramp < SUDDEN:
        raise DriftError(f"{kind}: ramp is {ramp}, wanted 0 (at once) or a duration")
    if ramp > SUDDEN and about.ramp is None:
        raise DriftError(f"{kind}: it is on or off and cannot grow; leave the ramp out")
    return ActiveDrift(kind=kind, started=started, strength=strength, ramp=ramp, who=who, why=why)


def require_possible(kind: str, world_source: str) -> None:
    """Refuse a kind that a replayed world cannot have, because it repeats recorded payments.

    Raises:
        DriftError: The kind needs a simulated town, and the world is replayed.
    """
    if kind in KINDS and KINDS[kind].synthetic_only and world_source == "replay":
        raise DriftError(
            f"{kind} changes what only a simulated town does; this world repeats recorded payments"
            " (DOJO_WORLD_SOURCE=replay)"
        )


def settled(drifts: Iterable[ActiveDrift], lived: datetime) -> tuple[ActiveDrift, ...]:
    """Return the drifts with every bound final.

    Everything before `lived` has happened, or may have been seen to. A new bound before `lived`
    moves there. A settled bound stays. A drift that was stopped before it had any effect gets an
    empty interval.
    """
    return tuple(_settle(drift, lived) for drift in drifts)


def _settle(drift: ActiveDrift, lived: datetime) -> ActiveDrift:
    started = drift.started if drift.started_settled else max(drift.started, lived)
    ended = drift.ended
    if ended is not None and not drift.ended_settled:
        ended = max(ended, lived, started)
    return msgspec.structs.replace(
        drift,
        started=started,
        ended=ended,
        started_settled=True,
        ended_settled=drift.ended is not None,
    )


class DriftTable:
    """The table in Redis. The audit trail records starts and stops in the same write.

    Every method raises redis.RedisError when Redis is out of reach.
    """

    def __init__(self, redis: Redis) -> None:
        self._document = Document(redis, DRIFT_KEY, tuple[ActiveDrift, ...])

    def all(self) -> tuple[ActiveDrift, ...]:
        """Return active and ended drifts, in the order of their start.

        Raises:
            DriftError: The table is not one of ours.
        """
        return self._read().value or ()

    def active(self) -> tuple[ActiveDrift, ...]:
        """Return the drifts that were not stopped, at most one of a kind."""
        return tuple(drift for drift in self.all() if drift.ended is None)

    def start(
        self,
        kind: str,
        now: datetime,
        *,
        strength: float | None = None,
        ramp: timedelta | None = None,
        who: str = "",
        why: str = "",
        hidden: bool = False,
    ) -> ActiveDrift:
        """Start a drift at the world time `now`. None takes the kind's default.

        Args:
            hidden: Tell nothing of it until it ends.

        Raises:
            DriftError: As for `new_drift`, or the kind is already active.
        """
        drift = msgspec.structs.replace(
            new_drift(kind, now, strength, ramp, who, why), hidden=hidden
        )
        what = f"drift {kind} started, strength {drift.strength:g} {KINDS[drift.kind].unit}"
        what += f", growing over {format_duration(drift.ramp)}" if drift.ramp > SUDDEN else ""
        while True:
            found = self._read()
            drifts = found.value or ()
            running = next((d for d in drifts if d.kind == kind and d.ended is None), None)
            if running is not None:
                raise DriftError(
                    f"{kind} is active since {running.started:%Y-%m-%d %H:%M}: stop it first"
                )
            with suppress(
                ConflictError
            ):  # the simulator settled a bound, or another command was faster
                entry = None if hidden else _entry(what, who, why, now, None, drift)
                self._document.replace(found.revision, (*drifts, drift), entry)
                return drift

    def stop(
        self, kind: str, now: datetime, *, who: str = "", why: str = "", hidden: bool = False
    ) -> ActiveDrift:
        """End a drift at the world time `now`. What was hidden is told from then on.

        Args:
            hidden: True ends a hidden drift, False ends a known drift.

        Raises:
            DriftError: The drift is not active.
        """
        while True:
            found = self._read()
            drifts = found.value or ()
            known = [d for d in drifts if d.ended is None and d.hidden == hidden]
            running = next((d for d in known if d.kind == kind), None)
            if running is None:
                active = ", ".join(d.kind for d in known) or "none"
                raise DriftError(f"{kind} is not active; active: {active}")
            ended = msgspec.structs.replace(running, ended=max(now, running.started), hidden=False)
            rest = tuple(ended if drift is running else drift for drift in drifts)
            with suppress(ConflictError):
                entry = _entry(f"drift {kind} stopped", who, why, now, running, ended)
                self._document.replace(found.revision, rest, None if hidden else entry)
                return ended

    def settle(self, lived: datetime) -> tuple[ActiveDrift, ...]:
        """Make all bounds final (`settled`), store the drifts and return them.

        Only the simulator calls it, because it alone knows `lived`.
        """
        while True:
            found = self._read()
            drifts = found.value or ()
            final = settled(drifts, lived)
            if final == drifts:
                return final
            with suppress(ConflictError):
                self._document.replace(found.revision, final)
                return final

    def _read(self) -> Stored[tuple[ActiveDrift, ...]]:
        try:
            return self._document.read()
        except msgspec.MsgspecError as error:
            raise DriftError(f"{DRIFT_KEY} in Redis cannot be understood: {error}") from error


def _entry(
    what: str, who: str, why: str, now: datetime, before: ActiveDrift | None, after: ActiveDrift
) -> Entry:
    return Entry(
        entry_id=f"world-drift:{uuid4().hex}",
        kind="world",
        model="",  # the world has no model
        who=who,
        what=what,
        why=why,
        before=before,
        after=after,
        world_time=now,
    )
