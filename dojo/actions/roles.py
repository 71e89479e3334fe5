"""Changing the champion by hand.

Promotion and rollback are planned, shown to the person, and carried out.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from dojo.actions.approvals import approval_required, require_second_person, write_note
from dojo.actions.desk import Desk
from dojo.actions.errors import NothingToActOnError, ObjectionError, PartlyDoneError
from dojo.actions.registry import standing
from dojo.core.registry.errors import RegistryUnavailableError, UnknownVersionError
from dojo.core.registry.promotion import Change, describe
from dojo.core.registry.versions import CHAMPION, PREVIOUS_CHAMPION, Version
from dojo.core.state.routes import Route


@dataclass(frozen=True, slots=True)
class Promotion:
    """A version that may become champion.

    Attributes:
        champion: Version that has the role now. None for a model's first version.
        objection: Finding against the version. "" without one.
    """

    model: str
    version: str
    champion: str | None
    objection: str

    def __str__(self) -> str:
        change = (
            f"version {self.version} becomes champion and gets all traffic; now it is"
            f" {self.champion or 'no version'}."
        )
        return f"{self.model}: {change}" + (f" {self.objection}." if self.objection else "")


@dataclass(frozen=True, slots=True)
class Rollback:
    """A version that may get traffic and role back.

    Attributes:
        route: The current route. None where the registry's champion serves.
        known: Whether the version is in the registry or in the route. False when the registry could
            not be asked.
    """

    model: str
    to: str
    route: Route | None
    known: bool = True

    def __str__(self) -> str:
        now = describe(self.route) if self.route else "the champion"
        return f"{self.model}: all traffic goes to version {self.to}; now: {now}."


@dataclass(frozen=True, slots=True)
class Roles:
    """The holders of a model's roles, and its route, after a change."""

    model: str
    champion: str | None
    previous_champion: str | None
    route: Route


def plan_promotion(desk: Desk, model: str, version: str, force: bool = False) -> Promotion:
    """Plan to make a version champion at once, without shadow and canary.

    Args:
        force: Also a version that did not win at the gate or was rolled back.

    Raises:
        RolloutDecidesError: A rollout is active.
        ObjectionError: A finding speaks against the version, without `force`.
        UnsealedVersionError: Its record is not as registered, so the gateway would not load it.
        UnknownVersionError: The registry does not know the version.
        RegistryUnavailableError: The registry is away.
    """
    desk.refuse_during_a_rollout(desk.require_model(model))
    found, champion = desk.registry.get(model, version), desk.registry.by_alias(model, CHAMPION)
    if champion is None:
        # Its role may have been taken in MLflow. The serving version must still be beaten.
        champion = _recorded_champion(desk, model)
    desk.registry.require_seal(found)
    objection = _objection(found, champion)
    if objection and not force:
        raise ObjectionError(
            f"{model}: {objection}", "--force promotes it all the same, and the audit trail says so"
        )
    return Promotion(model, version, champion.version if champion else None, objection)


def promote(desk: Desk, plan: Promotion, change: Change) -> Roles:
    """Give a version the role and all traffic. The old champion stays warm beside it.

    Where the spec requires approval, this is one.

    Raises:
        ObjectionError: Approval is required, and the same person has proposed the version.
    """
    if plan.objection:
        change = dataclasses.replace(change, why=f"{change.why} (forced: {plan.objection})")
    if approves := approval_required(desk, plan.model):
        found = desk.registry.get(plan.model, plan.version)
        require_second_person(found, change.who, found.tags.proposed_by)
    route = desk.role_changes.promote(plan.model, plan.version, change)
    if approves:
        write_note(desk, plan.model, plan.version, change)
    return _roles(desk, plan.model, route)


def _recorded_champion(desk: Desk, model: str) -> Version | None:
    """The champion by the platform's own record.

    None without one, or when the registry does not know it any more.
    """
    champion = standing(desk, model).champion
    try:
        return desk.registry.get(model, champion) if champion else None
    except UnknownVersionError:
        return None


def _objection(found: Version, champion: Version | None) -> str:
    """The finding against promoting a version. A model's first champion has no other to beat."""
    if champion is None or champion.version == found.version:
        return ""
    if found.tags.rolled_back is not None:
        return f"version {found.version} was rolled back: {found.tags.rolled_back}"
    if not found.tags.won:
        return (
            f"version {found.version} did not win at the gate"
            f" ({found.tags.gate_verdict or 'never judged'})"
        )
    return ""


def seal(desk: Desk, model: str, version: str, change: Change) -> Version:
    """Seal a version's record as MLflow has it now. A person vouches for it.

    Its bundle must match the record.

    Raises:
        ObjectionError: The bundle does not match the record.
        UnknownVersionError: The registry does not know the version.
        RegistryUnavailableError: The registry is away.
    """
    from tempfile import TemporaryDirectory

    from dojo.core.registry.bundle import CorruptBundleError, verify_bundle

    found = desk.registry.get(desk.require_model(model), version)
    with TemporaryDirectory() as directory:
        try:
            if found.tags.bundle_sha256 is None:
                raise CorruptBundleError("its record names no bundle_sha256")
            verify_bundle(desk.registry.download(found, Path(directory)), found.tags.bundle_sha256)
        except CorruptBundleError as error:
            raise ObjectionError(
                f"{model}: version {version}: {error}", f"dojo retrain {model} --reason ..."
            ) from error
    desk.audit.append(
        entry_id=f"{change.key}:seal:{model}:{version}",
        kind="approval",
        model=model,
        who=change.who,
        what=f"version {version} was sealed again, with bundle {found.tags.bundle_sha256[:12]}",
        why=change.why,
        before={"fault": desk.registry.seal_fault(found)},
        after={"record": found.tags.sealed},
        world_time=change.world_time,
    )
    desk.registry.seal(found)
    return desk.registry.get(model, version)


def plan_rollback(desk: Desk, model: str, to: str = "", force: bool = False) -> Rollback:
    """Plan to give all traffic, and the role, back.

    Args:
        to: The version that gets them. "" stands for the previous champion.
        force: Also while a rollout is active. Then its controller gives way.

    Raises:
        RolloutDecidesError: A rollout is active, without `force`.
        NothingToActOnError: No previous champion is known.
        UnknownVersionError: The registry does not know `to`.
    """
    desk.require_model(model)
    if not force:
        desk.refuse_during_a_rollout(model)
    route = desk.routes.get(model)
    if not to:
        return Rollback(model, _previous_champion(desk, model, route), route)
    if route is not None and any(arm.version == to for arm in route.arms):
        return Rollback(model, to, route)
    try:
        desk.registry.get(model, to)
    except RegistryUnavailableError:
        return Rollback(model, to, route, known=False)
    return Rollback(model, to, route)


def roll_back(desk: Desk, plan: Rollback, change: Change) -> Roles:
    """Move the traffic, then the role.

    Raises PartlyDoneError: The registry is away, so only the traffic has moved.
    """
    try:
        route = desk.role_changes.roll_back(plan.model, change, to=plan.to)
    except RegistryUnavailableError as error:
        raise PartlyDoneError(
            f"{plan.model}: traffic is with version {plan.to} now; its role could not be changed:"
            f" {error}",
            f"what remains, once MLflow answers: dojo models rollback {plan.model} --to {plan.to}"
            " --why ...",
        ) from error
    return _roles(desk, plan.model, route)


def _previous_champion(desk: Desk, model: str, route: Route | None) -> str:
    try:
        previous = desk.registry.by_alias(model, PREVIOUS_CHAMPION)
    except RegistryUnavailableError as error:
        warm = [arm.version for arm in route.arms[1:]] if route else []
        raise NothingToActOnError(
            f"{model}: who was champion before is in MLflow, and it does not answer: {error}",
            f"--to {warm[0]} (the gateway has it at hand)" if warm else "--to VERSION",
        ) from error
    if previous is None:
        raise NothingToActOnError(
            f"{model}: no version is its previous champion",
            "say which one: --to VERSION (dojo models list)",
        )
    return previous.version


def _roles(desk: Desk, model: str, route: Route) -> Roles:
    champion, previous = (
        desk.registry.by_alias(model, CHAMPION),
        desk.registry.by_alias(model, PREVIOUS_CHAMPION),
    )
    return Roles(
        model, champion.version if champion else None, previous.version if previous else None, route
    )
