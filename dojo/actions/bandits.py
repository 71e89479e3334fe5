"""Starting, pausing and stopping a bandit, which splits a model's traffic by its rewards."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from dojo.actions.errors import NothingToActOnError, WrongCallError
from dojo.actions.registry import require_champion
from dojo.core.registry.promotion import full_traffic, require_champions_traffic
from dojo.core.state.atomic import ConflictError
from dojo.core.state.audit import Entry
from dojo.core.state.draws import Draw
from dojo.core.state.routes import CHALLENGER_ARM, CHAMPION_ARM, Arm

if TYPE_CHECKING:
    from dojo.actions.desk import Desk
    from dojo.core.registry.promotion import Change
    from dojo.core.spec.bandit import PolicyName
    from dojo.core.state.bandits import Bandit, Bandits

# The controller writes some times a second. A few tries find a gap.
TRIES = 50
RETRY_SECONDS = 0.02


def bandits_of(desk: Desk) -> Bandits:
    """The bandits in Redis. Raises redis.RedisError."""
    from dojo.core.state.bandits import Bandits

    return Bandits(desk.redis)


def latest_bandit(desk: Desk, model: str) -> Bandit:
    """The model's bandit, active or ended. Raises UnknownModelError, NothingToActOnError."""
    found = bandits_of(desk).get(desk.require_model(model))
    if found is None:
        raise NothingToActOnError(
            f"{model}: it never had a bandit", f"dojo bandit start {model} --arms 1,2 --why ..."
        )
    return found


def start(
    desk: Desk, model: str, versions: Sequence[str], policy: PolicyName, change: Change
) -> Bandit:
    """Begin a bandit. The rollout controller makes its route and moves its shares.

    Args:
        versions: The versions of the arms, the champion's among them.

    Raises:
        WrongCallError: The versions or the policy do not fit, or the model is unknown.
        NothingToActOnError: The model has no champion, or its spec has no bandit.
        RolloutDecidesError: A rollout is active.
        TrafficElsewhereError: Another version than the champion answers.
        BanditActiveError: Another bandit is active.
        UnknownVersionError: The registry does not know a version.
        UnsealedVersionError: A version's record is not as registered.
        RegistryUnavailableError: The registry is away.
        ConflictError: Another process was faster.
    """
    from dojo.core.judging.bandit_shares import first_shares
    from dojo.core.state.bandits import Bandit

    limits = desk.spec(model).bandit
    if limits is None:
        raise NothingToActOnError(
            f"{model}: its spec has no section bandit, so no answer has a reward",
            f"models/banner.yaml has one; add it to {desk.settings.models_dir / model}.yaml",
        )
    if policy == "linear" and not limits.context:
        raise WrongCallError(f"{model}: the policy linear needs bandit.context in the spec")
    desk.refuse_during_a_rollout(model)
    champion = require_champion(desk, model).version
    if len(versions) < 2 or len(set(versions)) < len(versions) or champion not in versions:
        raise WrongCallError(
            f"--arms: name different versions, the champion's {champion} among them, got"
            f" {','.join(versions) or 'none'}"
        )
    require_champions_traffic(desk.routes, model, champion)
    challengers = [version for version in versions if version != champion]
    for version in challengers:
        desk.registry.require_seal(desk.registry.get(model, version))
    try:
        shares = first_shares(limits, len(versions)).tolist()
    except ValueError as error:
        raise WrongCallError(f"--arms: too many for the spec's floors: {error}") from error
    names = [
        CHALLENGER_ARM if len(challengers) == 1 else f"{CHALLENGER_ARM}_{v}" for v in challengers
    ]
    bandit = Bandit(
        id=f"{model}-bandit-{change.world_time:%Y%m%dT%H%M%S}-{change.key[-8:]}",
        model=model,
        policy=policy,
        arms=tuple(
            Arm(name, version, share)
            for name, version, share in zip(
                (CHAMPION_ARM, *names), (champion, *challengers), shares, strict=True
            )
        ),
        draw=Draw(sticky=limits.sticky),
        started=change.world_time,
        who=change.who,
        why=change.why,
    )
    what = f"{policy} bandit of versions {', '.join((champion, *challengers))} started"
    bandits_of(desk).start(bandit, _entry(bandit, change, what))
    return bandit


def pause(desk: Desk, model: str, change: Change) -> Bandit:
    """Keep the shares as they are. Rewards are still counted, and a broken arm is still cut.

    Raises NoBanditError, ConflictError.
    """
    return _changed(
        desk,
        model,
        lambda bandit: msgspec.structs.replace(bandit, paused_by=change.who),
        change,
        "bandit paused",
    )


def resume(desk: Desk, model: str, change: Change) -> Bandit:
    """Let the shares move again. Raises NoBanditError, ConflictError."""
    return _changed(
        desk,
        model,
        lambda bandit: msgspec.structs.replace(bandit, paused_by=""),
        change,
        "bandit resumed",
    )


def stop(desk: Desk, model: str, change: Change) -> Bandit:
    """End the bandit and give all traffic to the champion.

    Raises NoBanditError, ConflictError.
    """
    ended = _changed(
        desk,
        model,
        lambda bandit: msgspec.structs.replace(
            bandit, ended=change.world_time, ended_why=f"stopped by {change.who}: {change.why}"
        ),
        change,
        "bandit stopped",
    )
    # The controller does the same, if this process ends in between.
    current = desk.routes.get(model)
    if current is not None and ended.is_served_by(current):
        arms = full_traffic(ended.arms[0].version, None)
        desk.role_changes.route(model, "champion", arms, change, expected=current.generation)
    return ended


def _changed(
    desk: Desk, model: str, make: Callable[[Bandit], Bandit], change: Change, what: str
) -> Bandit:
    """Change the active bandit. The controller may often be faster, so this tries again."""
    from dojo.core.state.bandits import NoBanditError

    bandits = bandits_of(desk)
    found = bandits.get(desk.require_model(model))
    if found is None:
        raise NoBanditError(f"{model}: no bandit is active")
    entry = _entry(found, change, what)
    for _ in range(TRIES):
        try:
            return bandits.change(model, make, entry)
        except ConflictError:
            time.sleep(RETRY_SECONDS)
    return bandits.change(model, make, entry)


def _entry(bandit: Bandit, change: Change, what: str) -> Entry:
    return Entry(
        entry_id=f"{bandit.id}:{change.key}",
        kind="bandit",
        model=bandit.model,
        who=change.who,
        what=what,
        why=change.why,
        after={"policy": bandit.policy, "arms": bandit.arms},
        world_time=change.world_time,
    )
