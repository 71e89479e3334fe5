"""Puts the registry back to the platform's state, after it was changed in MLflow.

Only the registry changes. Traffic stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from dojo.actions.desk import Desk
from dojo.actions.errors import NothingToActOnError, ObjectionError
from dojo.core.registry.errors import RegistryUnavailableError
from dojo.core.registry.faults import (
    ServingRecord,
    find_faults,
    recorded_tags,
    restore_command,
    serving_record,
)
from dojo.core.registry.promotion import Change
from dojo.core.registry.versions import CHAMPION, Version
from dojo.core.state.registry_faults import FaultKind, RegistryFault

# Faults for whose repair the registry still has everything.
RESTORABLE: frozenset[FaultKind] = frozenset({"role", "tags", "run", "experiment"})


@dataclass(frozen=True, slots=True)
class Restoration:
    """What is put back, and what cannot be.

    Attributes:
        record: Serving version by the platform's own record.
        faults: Faults that this repairs.
        left: Faults that it does not repair. Each names its next step.
    """

    model: str
    record: ServingRecord
    faults: tuple[RegistryFault, ...]
    left: tuple[RegistryFault, ...]

    def __str__(self) -> str:
        return "\n".join(
            f"{self.model}: {fault.what}; it becomes as it was." for fault in self.faults
        )


@dataclass(frozen=True, slots=True)
class Retirement:
    """A model whose versions are gone for good.

    `serving` is the version that still answers, from the gateway's cache.
    """

    model: str
    serving: str

    def __str__(self) -> str:
        return (
            f"{self.model}: no version is champion any more and the route is removed; version"
            f" {self.serving} answers from the gateway's cache until the model's next first"
            " version."
        )


def standing(desk: Desk, model: str) -> ServingRecord:
    """The serving version by the platform's own record: the route and the audit trail."""
    return serving_record(desk.routes.get(model), desk.audit.newest_champion(model))


def require_champion(desk: Desk, model: str) -> Version:
    """The registry's champion.

    Raises NothingToActOnError: No version is champion. It names the command that makes one.
    """
    champion = desk.registry.by_alias(model, CHAMPION)
    if champion is None:
        lost = standing(desk, model).champion
        restored = restore_command(model, "its role was removed in MLflow")
        promoted = f"dojo models promote {model}@VERSION --why ..."
        raise NothingToActOnError(
            f"{model}: no version is champion", restored if lost else promoted
        )
    return champion


def faults_if_known(desk: Desk, model: str) -> tuple[RegistryFault, ...]:
    """The registry's differences from the platform's state. Empty while the registry is away."""
    try:
        return find_faults(desk.registry, model, standing(desk, model))
    except RegistryUnavailableError:
        return ()


def plan_restoration(desk: Desk, model: str) -> Restoration:
    """Plan to put back what was changed past the platform.

    Raises:
        NothingToActOnError: Nothing that can be put back was changed.
        RolloutDecidesError: The role is missing while a rollout is active. Its controller puts the
            role back.
        RegistryUnavailableError: The registry is away.
    """
    record = standing(desk, desk.require_model(model))
    found = find_faults(desk.registry, model, record)
    faults = tuple(fault for fault in found if fault.kind in RESTORABLE)
    left = tuple(fault for fault in found if fault.kind not in RESTORABLE)
    if not faults:
        if left:
            raise NothingToActOnError(f"{model}: {left[0].what}", left[0].next_step)
        raise NothingToActOnError(
            f"{model}: the registry is as the platform left it", "dojo models list"
        )
    if any(fault.kind == "role" for fault in faults):
        desk.refuse_during_a_rollout(model)
    return Restoration(model, record, faults, left)


def restore(desk: Desk, plan: Restoration, change: Change) -> tuple[RegistryFault, ...]:
    """Put back what the plan names. It may be repeated. Returns the faults that are left."""
    model, record, api = plan.model, plan.record, desk.registry.api
    kinds = {fault.kind for fault in plan.faults}
    if "experiment" in kinds:  # with the runs that were deleted with it
        api.restore_experiment(api.get_experiment(model).experiment_id)
    if "run" in kinds:
        api.restore_run(desk.registry.get(model, record.serving).run_id)
    if "tags" in kinds:
        served = desk.registry.get(model, record.serving)
        desk.registry.tag(model, served.version, recorded_tags(desk.registry, served, record))
    if "role" in kinds:
        desk.role_changes.put_back(model, record.champion, change)
    if mended := kinds - {"role"}:  # which has an entry of its own
        desk.audit.append(
            entry_id=f"{change.key}:restored",
            kind="registry",
            model=model,
            who=change.who,
            what=f"put back in the registry: {', '.join(sorted(mended))}",
            why=change.why,
            before=[fault.what for fault in plan.faults],
            world_time=change.world_time,
        )
    return find_faults(desk.registry, model, standing(desk, model))


def plan_retirement(desk: Desk, model: str) -> Retirement:
    """Plan to record that no version is champion any more.

    The next training then makes the model's first version.

    Raises:
        RolloutDecidesError: A rollout is active.
        NothingToActOnError: No version serves.
        ObjectionError: The registry has the model, so its versions can be promoted.
        RegistryUnavailableError: The registry is away.
    """
    record = standing(desk, desk.require_model(model))
    desk.refuse_during_a_rollout(model)
    if not record.serving:
        raise NothingToActOnError(
            f"{model}: no version serves by the platform's record", f"dojo train {model}"
        )
    if desk.registry.has_model(model):
        raise ObjectionError(
            f"{model}: MLflow has the registered model, so version numbers go on and a new version"
            " can follow",
            f"dojo train {model}, then dojo models promote {model}@VERSION --why ...",
        )
    return Retirement(model, record.serving)


def retire(desk: Desk, plan: Retirement, change: Change) -> None:
    """Record it, and remove the route. Raises ConflictError: Repeat the call."""
    desk.role_changes.retire(plan.model, change)
