"""`dojo models promote|rollback|approve`: changing by hand who is champion, and saying yes to a rollout that waits for it."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import msgspec
import typer
from rich.markup import escape

from dojo.cli.context import (
    Desk,
    ModelArgument,
    Who,
    Why,
    Yes,
    confirm,
    desk,
    mlflow_errors_become_messages,
    registry_of,
)
from dojo.cli.output import JsonFlag, err, errors_become_messages, fail, out, print_json
from dojo.core.judging.rollout.stages import Stage
from dojo.core.registry.errors import RegistryUnavailableError, UnknownVersionError
from dojo.core.registry.promotion import Change, describe
from dojo.core.registry.versions import (
    APPROVAL_TAG,
    CHAMPION,
    GATE_TAG,
    PREVIOUS_CHAMPION,
    ROLLED_BACK_TAG,
    ModelRegistry,
    Version,
)
from dojo.core.state.atomic import ConflictError
from dojo.core.state.audit import Entry
from dojo.core.state.clock import wall_now
from dojo.core.state.rollouts import NoRolloutError, RequestPendingError, Rollout, RolloutRequest
from dojo.core.state.routes import Route

PASSED = "improved"  # the gate's only verdict that lets a version in (dojo/core/judging/gate/compare.py)

# The controller writes a rollout at each look; a request that met such a write is left again.
REQUEST_ATTEMPTS = 10


def promote(
    version: Annotated[str, typer.Argument(help="The version that becomes champion.", metavar="MODEL@VERSION")],
    why: Why,
    who: Who = "",
    force: Annotated[
        bool, typer.Option("--force", help="Also a version that did not win at the gate or was rolled back.")
    ] = False,
    yes: Yes = False,
    as_json: JsonFlag = False,
) -> None:
    """Make a version champion by hand, at once, past shadow and canary; the old champion stays warm beside it.

    Example: dojo models promote fraud_detection@2 --why "the rollout was stopped by an outage of the feature store"
    """
    model, _, number = version.partition("@")
    if not number.isdigit():
        raise fail(f"expected MODEL@VERSION, for example fraud_detection@2, got {escape(version)}", "dojo models list", code=2)
    unknown = errors_become_messages(UnknownVersionError, next_step="dojo models list")
    with desk() as here, mlflow_errors_become_messages(), unknown:
        change = here.change(who, why)
        here.refuse_during_a_rollout(model)
        registry = registry_of(here.settings)
        found, champion = registry.get(model, number), registry.by_alias(model, CHAMPION)
        objection = _objection(found, champion)
        if objection and not force:
            raise fail(f"{model}: {escape(objection)}", "--force promotes it all the same, and the audit trail says so")
        confirm(
            f"{model}: version {number} becomes champion and gets all traffic; now it is {champion.version if champion else 'nobody'}."
            + (f" {objection}." if objection else ""),
            yes,
        )
        if objection:
            change = dataclasses.replace(change, why=f"{change.why} (forced: {objection})")
        route = here.champions(registry).promote(model, number, change)
        _say(registry, model, route, as_json)


def _objection(found: Version, champion: Version | None) -> str:
    """What speaks against promoting a version; "" when nothing does. A model's first champion has nobody to beat."""
    if champion is None or champion.version == found.version:
        return ""
    if ROLLED_BACK_TAG in found.tags:
        return f"version {found.version} was rolled back: {found.tags[ROLLED_BACK_TAG]}"
    verdict = found.tags.get(GATE_TAG)
    if verdict != PASSED:
        return f"version {found.version} did not win at the gate ({'never judged' if verdict is None else verdict})"
    return ""


def rollback(
    model: ModelArgument,
    why: Why,
    to: Annotated[
        str, typer.Option(help="The version that gets its role back; default: the previous champion.", metavar="VERSION")
    ] = "",
    who: Who = "",
    force: Annotated[bool, typer.Option("--force", help="Also while a rollout is active: its controller gives way.")] = False,
    yes: Yes = False,
    as_json: JsonFlag = False,
) -> None:
    """Give all traffic, and the role, back to the previous champion. With --to, traffic moves even while MLflow is down.

    Example: dojo models rollback fraud_detection --why "declines doubled since noon"
    """
    with desk() as here:
        change = here.change(who, why)
        if not force:
            here.refuse_during_a_rollout(model)
        route = here.routes.get(model)
        registry = registry_of(here.settings)
        if to:
            _check_target(registry, model, to, route)
        else:
            to = _previous_champion(registry, model, route)
        confirm(f"{model}: all traffic goes to version {to}; now: {describe(route) if route else 'the champion'}.", yes)
        try:
            moved = here.champions(registry).roll_back(model, change, to=to)
        except RegistryUnavailableError as error:
            raise fail(
                f"{model}: traffic is with version {to} now; its role could not be changed: {escape(str(error))}",
                f"what remains, once MLflow answers: dojo models rollback {model} --to {to} --why ...",
            ) from error
        _say(registry, model, moved, as_json)


def _check_target(registry: ModelRegistry, model: str, to: str, route: Route | None) -> None:
    """An unknown version must not get the traffic. One that the route already has at hand needs no registry to be believed."""
    if route is not None and any(arm.version == to for arm in route.arms):
        return
    with errors_become_messages(UnknownVersionError, next_step="dojo models list"):
        try:
            registry.get(model, to)
        except RegistryUnavailableError:
            err.print(f"MLflow does not answer: whether there is a version {escape(to)} shows when the gateway loads it.")


def _previous_champion(registry: ModelRegistry, model: str, route: Route | None) -> str:
    try:
        previous = registry.by_alias(model, PREVIOUS_CHAMPION)
    except RegistryUnavailableError as error:
        warm = [arm.version for arm in route.arms[1:]] if route else []
        hint = f"--to {warm[0]} (the gateway has it at hand)" if warm else "--to VERSION"
        raise fail(
            f"{model}: who was champion before is in MLflow, and it does not answer: {escape(str(error))}", hint
        ) from error
    if previous is None:
        raise fail(f"{model}: no version is its previous champion", "say which one: --to VERSION (dojo models list)")
    return previous.version


def approve(model: ModelArgument, why: Why, who: Who = "", as_json: JsonFlag = False) -> None:
    """Let a rollout that waits for approval begin. Recorded on the version and in the audit trail, with who and why.

    Example: dojo models approve fraud_detection --why "reviewed its segments with the payments team"
    """
    with desk() as here, mlflow_errors_become_messages():
        change = here.change(who, why)
        rollout = here.rollouts.get(model)
        if rollout is None or rollout.stage is not Stage.AWAITING_APPROVAL:
            found = f"version {rollout.version} is {rollout.stage}" if rollout else "it has no rollout"
            raise fail(f"{model}: nothing waits for approval ({found})", f"dojo rollout show {model}")
        entry = _record_approval(here, rollout, change)
        # From the entry: when an earlier attempt got only so far, version and trail still say the same.
        approval = {"who": entry.who, "when": f"{entry.world_time:%Y-%m-%dT%H:%M:%SZ}", "why": entry.why}
        with errors_become_messages(UnknownVersionError, next_step="dojo models list"):
            registry_of(here.settings).set_tag(model, rollout.version, APPROVAL_TAG, msgspec.json.encode(approval).decode())
        with errors_become_messages(NoRolloutError, RequestPendingError, ConflictError, next_step=f"dojo rollout show {model}"):
            _leave_request(
                here, model, rollout, RolloutRequest(action="approve", who=entry.who, why=entry.why, wall_time=wall_now())
            )
    if as_json:
        print_json({"model": model, "version": rollout.version, "rollout": rollout.id, **approval})
    else:
        out.print(f"{model}: version {rollout.version} is approved by {escape(entry.who)}; its rollout begins", highlight=False)


def _record_approval(here: Desk, rollout: Rollout, change: Change) -> Entry:
    entry_id = f"{rollout.id}:approval"
    entry = here.audit.append(
        entry_id=entry_id,
        kind="approval",
        model=rollout.model,
        who=change.who,
        what=f"version {rollout.version} was approved for rollout",
        why=change.why,
        before={"version": rollout.version, "approved": False},
        after={"version": rollout.version, "approved": True},
        world_time=change.world_time,
    ) or here.audit.find(entry_id)
    if entry is None:
        raise fail(f"{rollout.model}: the approval's audit entry cannot be read", "dojo audit verify")
    return entry


def _leave_request(here: Desk, model: str, approved: Rollout, request: RolloutRequest) -> None:
    for attempt in range(REQUEST_ATTEMPTS):
        current = here.rollouts.get(model)
        if current is None or current.id != approved.id or current.stage is not Stage.AWAITING_APPROVAL:
            raise NoRolloutError(f"{model}: the rollout does not wait for approval any more")
        try:
            here.rollouts.request(model, request)
            return
        except ConflictError:
            if attempt == REQUEST_ATTEMPTS - 1:
                raise


def _say(registry: ModelRegistry, model: str, route: Route, as_json: bool) -> None:
    champion, previous = registry.by_alias(model, CHAMPION), registry.by_alias(model, PREVIOUS_CHAMPION)
    roles = {"champion": champion and champion.version, "previous_champion": previous and previous.version}
    if as_json:
        print_json({"model": model, **roles, "route": route})
        return
    out.print(f"{model}: champion {roles['champion']}, previous champion {roles['previous_champion'] or '-'}", highlight=False)
    out.print(f"route {route.generation}, {describe(route)}", highlight=False)
