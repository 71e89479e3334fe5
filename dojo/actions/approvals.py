"""Approving a rollout that waits, and who may approve a version."""

from __future__ import annotations

from dataclasses import dataclass

from dojo.actions.desk import Desk
from dojo.actions.errors import NothingToActOnError, ObjectionError
from dojo.core.judging.rollout.stages import Stage
from dojo.core.registry.promotion import Change
from dojo.core.registry.tags import ApprovalNote, VersionTags
from dojo.core.registry.versions import Version
from dojo.core.spec.read import SpecError
from dojo.core.state.atomic import ConflictError
from dojo.core.state.audit import Entry
from dojo.core.state.clock import wall_now
from dojo.core.state.rollouts import NoRolloutError, Rollout, RolloutRequest

# The controller writes a rollout in each round. A request that met such a write is left again.
REQUEST_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class Approval:
    """A rollout's approval, as the audit trail has it. `when` is world time."""

    model: str
    version: str
    rollout: str
    who: str
    when: str
    why: str


def approve(desk: Desk, model: str, change: Change) -> Approval:
    """Let a rollout that waits for approval begin.

    It is recorded in the audit trail and on the version. It may be repeated.

    Raises:
        NothingToActOnError: No rollout of the model waits for approval.
        NoRolloutError, RequestPendingError, ConflictError: The rollout changed meanwhile.
        UnsealedVersionError: The version's record is not as registered.
        ObjectionError: The same person has proposed the version or its rollout.
    """
    rollout = desk.rollouts.get(desk.require_model(model))
    if rollout is None or rollout.stage is not Stage.AWAITING_APPROVAL:
        found = f"version {rollout.version} is {rollout.stage}" if rollout else "it has no rollout"
        raise NothingToActOnError(
            f"{model}: nothing waits for approval ({found})", f"dojo rollout show {model}"
        )
    version = desk.registry.get(model, rollout.version)
    desk.registry.require_seal(version)
    require_second_person(version, change.who, version.tags.proposed_by, rollout.who)
    entry = _record_approval(desk, rollout, change)
    # The note comes from the entry. When an earlier attempt stopped between the two, both still
    # agree.
    note = write_note(desk, model, rollout.version, entry)
    _leave_request(
        desk,
        rollout,
        RolloutRequest(action="approve", who=entry.who, why=entry.why, wall_time=wall_now()),
    )
    return Approval(model, rollout.version, rollout.id, note.who, note.when, note.why)


def approval_required(desk: Desk, model: str) -> bool:
    """Whether the spec asks for a second person. A wrong spec may have asked for one."""
    try:
        return desk.spec(model).rollout.approval == "required"
    except SpecError:
        return True


def require_second_person(version: Version, who: str, *proposers: str | None) -> None:
    """Refuse an approval by the person who has proposed the version. Raises ObjectionError."""
    name = who.strip().casefold()
    if any(proposer and proposer.strip().casefold() == name for proposer in proposers):
        raise ObjectionError(
            f"{version.model}: {who} has proposed version {version.version}, so another person must"
            " approve it",
            f"dojo models show {version.model}@{version.version}, then that person repeats this"
            " with their --who",
        )


def write_note(desk: Desk, model: str, version: str, decided: Change | Entry) -> ApprovalNote:
    """Write on the version who approved it, when and why. Raises RegistryUnavailableError."""
    note = ApprovalNote(
        who=decided.who, when=f"{decided.world_time:%Y-%m-%dT%H:%M:%SZ}", why=decided.why
    )
    desk.registry.tag(model, version, VersionTags(approval=note))
    return note


def _record_approval(desk: Desk, rollout: Rollout, change: Change) -> Entry:
    entry_id = f"{rollout.id}:approval"
    entry = desk.audit.append(
        entry_id=entry_id,
        kind="approval",
        model=rollout.model,
        who=change.who,
        what=f"version {rollout.version} was approved for rollout",
        why=change.why,
        before={"version": rollout.version, "approved": False},
        after={"version": rollout.version, "approved": True},
        world_time=change.world_time,
    ) or desk.audit.find(entry_id)
    if entry is None:
        raise NothingToActOnError(
            f"{rollout.model}: the approval's audit entry cannot be read", "dojo audit verify"
        )
    return entry


def _leave_request(desk: Desk, approved: Rollout, request: RolloutRequest) -> None:
    for attempt in range(REQUEST_ATTEMPTS):
        current = desk.rollouts.get(approved.model)
        if (
            current is None
            or current.id != approved.id
            or current.stage is not Stage.AWAITING_APPROVAL
        ):
            raise NoRolloutError(
                f"{approved.model}: the rollout does not wait for approval any more"
            )
        try:
            desk.rollouts.request(approved.model, request)
            return
        except ConflictError:
            if attempt == REQUEST_ATTEMPTS - 1:
                raise
