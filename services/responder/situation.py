"""The circumstances of a model in Redis: its traffic, its former champion, its rollout.

They come from routes, rollouts and the audit trail, not from MLflow. Taking traffic away from a bad
version must not wait for the registry.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from dojo.core.state.audit import AuditTrail
from dojo.core.state.responder_control import Control
from dojo.core.state.rollouts import Rollouts
from dojo.core.state.routes import RouteTable
from services.responder.decide import Circumstances
from services.responder.policy import ORDER
from services.responder.state import ModelState


class Situation:
    """Reads circumstances. Raises redis.RedisError when Redis is out of reach."""

    def __init__(self, routes: RouteTable, rollouts: Rollouts, audit: AuditTrail) -> None:
        self._routes, self._rollouts, self._audit = routes, rollouts, audit
        # Model -> the trail's length at the last read, then the findings.
        self._read: dict[str, tuple[int, str, str, str, datetime | None]] = {}

    def live(self, model: str) -> frozenset[str] | None:
        """Return the versions that answer callers or are a shadow. None without a route."""
        route = self._routes.get(model)
        if route is None:
            return None
        return frozenset(
            arm.version for arm in route.arms if arm.mode == "shadow" or arm.weight > 0
        )

    def look(self, state: ModelState, control: Control, now: datetime) -> Circumstances:
        """Return the circumstances. Reads the long audit trail only for a critical trouble."""
        model = state.model
        route, rollout = self._routes.get(model), self._rollouts.get(model)
        previous, since = "", None
        serving = route.primary.version if route is not None else ""
        if not serving or any(
            ORDER[trouble.severity] >= ORDER["critical"] for trouble in state.troubles.values()
        ):
            serving, previous, since = self._history(model, serving)
        switched = control.pause_of(model)
        return Circumstances(
            now=now,
            serving=serving,
            traffic_since=since,
            previous=previous if previous != serving else "",
            rolling_out=rollout.version if rollout is not None and rollout.active else "",
            paused=f"paused by {switched.who}: {switched.why}" if switched is not None else "",
        )

    def _history(self, model: str, serving: str) -> tuple[str, str, datetime | None]:
        """Return the serving version, its predecessor, and the start of its traffic.

        Without a route, the trail gives the serving version. The trail is read again when it grows.
        """
        length = self._audit.length()
        known = self._read.get(model)
        if known is None or known[:2] != (length, serving):
            champion, previous = self._roles(model)
            since = self._traffic_since(model, serving or champion)
            known = self._read[model] = (length, serving, serving or champion, previous, since)
        return known[2:]

    def _roles(self, model: str) -> tuple[str, str]:
        """Return the champion and the version to go back to, by the trail's newest entry."""
        entry = self._audit.newest_champion(model)
        after = entry.after if entry is not None else {}
        return str(after.get("champion") or ""), str(after.get("previous_champion") or "")

    def _traffic_since(self, model: str, version: str) -> datetime | None:
        """Return the world time since which the version has had live traffic without a break.

        None if no route in the trail gives it traffic.
        """
        since: datetime | None = None
        for entry in self._audit.entries(newest_first=True):
            if entry.kind != "route" or entry.model != model:
                continue
            if not _has_traffic(entry.after, version):
                break
            since = entry.world_time
        return since


def _has_traffic(route: Any, version: str) -> bool:
    arms = route.get("arms", []) if isinstance(route, dict) else []
    return any(arm.get("version") == version and arm.get("weight", 0) > 0 for arm in arms)
