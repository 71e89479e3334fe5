"""Routes without any traffic: the controller tells people and finally gives up. Pure.

A gateway serves a route only when its versions are loaded, verified and warm. If that never happens
(a damaged bundle, a sandbox that does not start), traffic stays on the route before. Without this
module, a stage would then wait silently for ever.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from dojo.core.judging.rollout.checks import WARN_AFTER, in_minutes
from dojo.core.judging.rollout.evidence import Evidence, stage_time
from dojo.core.judging.rollout.stages import Stage
from dojo.core.spec.schema import ModelSpec
from dojo.core.state.inbox import Notice
from dojo.core.state.rollouts import Rollout

# Only for shadow and canary. In the watch stage the version is champion. A silence of the shop then
# proves nothing against it.
GIVE_UP_AFTER = timedelta(minutes=10)

# A stage that lasts this many times its planned time gets a notice. The spec asks for more requests
# than the shop has.
FAR_PAST = 5

# Longer gaps do not count as waiting. The controller was away, or the machine was asleep.
_LONGEST_LOOK = timedelta(seconds=30)


def wait(evidence: Evidence, world: datetime, wall: datetime, heard: bool) -> None:
    """Note a look. The time since the last look counts as waiting.

    It does not count if the world stood still or events were read.

    Args:
        heard: Whether this look read events of the stage's route.
    """
    if heard:
        evidence.waited = timedelta(0)
    elif evidence.looked is not None and world > evidence.looked[0]:
        evidence.waited += min(max(wall - evidence.looked[1], timedelta(0)), _LONGEST_LOOK)
    evidence.looked = (world, wall)


def requests_of(evidence: Evidence) -> int:
    return evidence.challenger.requests + evidence.champion.requests


def notice_of(
    rollout: Rollout, evidence: Evidence, spec: ModelSpec, now: datetime
) -> Notice | None:
    """Return the message for the owner about the stage, None without one."""
    name, version, stage = rollout.model, rollout.version, evidence.stage
    if rollout.stage is Stage.PROMOTING:  # it waits for the registry
        return None
    if evidence.waited >= WARN_AFTER:
        what = "has never been served" if evidence.since is None else "has stopped being served"
        return Notice(
            f"rollout:{rollout.id}:{stage}:silent",
            "warning",
            f"{name}: the {stage} route of version {version} {what}",
            f"No request followed it for {in_minutes(evidence.waited)}. Either nobody asks, or the"
            f" gateway cannot serve a version: dojo routes show {name}",
        )
    needed, requests = stage_time(stage, spec), evidence.challenger.requests
    if (
        rollout.stage_since is not None
        and now - rollout.stage_since >= FAR_PAST * needed
        and requests < spec.rollout.minimum_requests
    ):
        return Notice(
            f"rollout:{rollout.id}:{stage}:late",
            "warning",
            f"{name}: {stage} of version {version} takes {FAR_PAST} times its time, for lack of"
            " requests",
            f"{requests} of {spec.rollout.minimum_requests} requests so far. Wait, or decide: dojo"
            f" rollout finish {name} --why ... or dojo rollout abort {name} --why ...",
        )
    return None


def gives_up(rollout: Rollout, evidence: Evidence) -> str | None:
    """Return why the challenger is taken back, None while its route may still be served."""
    if (
        rollout.stage not in (Stage.SHADOW, Stage.CANARY)
        or evidence.since is not None
        or evidence.waited < GIVE_UP_AFTER
    ):
        return None
    return (
        f"no request followed the {evidence.stage} route for {in_minutes(evidence.waited)} of wall"
        " time: the gateway does not serve it (dojo routes show)"
    )
