"""Edited specs: what they would change, and letting them take effect."""

from __future__ import annotations

from collections.abc import Mapping

from dojo.actions.desk import Desk, reason
from dojo.actions.errors import WrongCallError
from dojo.core.spec.compare import SHOWN, FieldChange, spec_hash
from dojo.core.spec.schema import ModelSpec
from dojo.core.state.applied_specs import AppliedSpecs
from dojo.core.tasks.specs import load_specs
from feature_repo import catalog

Changes = dict[str, dict[str, FieldChange]]


def differences(desk: Desk) -> Changes:
    """What each model's file changes, against the spec that was applied last.

    Models without a change are left out. Raises SpecError: A file is wrong.
    """
    return _differences(desk, _valid(desk))


def hashes(desk: Desk) -> dict[str, str]:
    """Hash of each file's spec by model, as processes show theirs. Raises SpecError."""
    return {name: spec_hash(spec)[:SHOWN] for name, spec in _valid(desk).items()}


def apply(desk: Desk, who: str, why: str, model: str = "") -> Changes:
    """Record the edited specs as applied, each with its audit entry.

    Processes read them when they are restarted.

    Args:
        model: The only model whose spec may be edited. "" allows every model.

    Raises:
        SpecError: A file is wrong. Nothing was recorded.
        WrongCallError: Another model was edited too, a model is new, the world cannot follow the
            edit, or `why` is empty.
    """
    why, specs = reason(why), _valid(desk)
    found = _differences(desk, specs)
    if new := _new_models(desk, specs):
        raise WrongCallError(
            f"{', '.join(new)} is new: a running process has no features of it",
            "dojo down, then dojo up: the world writes its past",
        )
    if stuck := _what_the_world_cannot_follow(found):
        raise WrongCallError(
            f"{stuck}: the recorded labels of this world follow the specs that it began with",
            "put it back, or begin a new world with it: dojo down --purge, dojo up",
        )
    if model and (others := sorted(set(found) - {desk.require_model(model)})):
        raise WrongCallError(
            f"{', '.join(others)} was edited too, and a restarted process reads every file",
            "dojo config apply without --model, or put the other file back",
        )
    applied, now = AppliedSpecs(desk.redis), desk.now_if_set()
    return {name: applied.apply(specs[name], who, why, now) for name in found}


def _valid(desk: Desk) -> Mapping[str, ModelSpec]:
    return catalog.agreed(load_specs(desk.settings.models_dir, desk.settings.models))


def _new_models(desk: Desk, specs: Mapping[str, ModelSpec]) -> list[str]:
    """The models that no process has read yet. Empty where there is no applied spec at all."""
    applied = AppliedSpecs(desk.redis)
    new = [name for name in specs if not applied.has(name)]
    return new if len(new) < len(specs) else []


def _what_the_world_cannot_follow(found: Changes) -> str:
    """The first edit that the current world cannot follow. "" without one."""
    paths = (f"{name}: {path}" for name, changed in found.items() for path in changed)
    return next(
        (
            path
            for path in paths
            if path.partition(": ")[2].startswith(("label.delay", "label.event", "label.truth"))
        ),
        "",
    )


def _differences(desk: Desk, specs: Mapping[str, ModelSpec]) -> Changes:
    applied = AppliedSpecs(desk.redis)
    return {name: changed for name, spec in specs.items() if (changed := applied.changes(spec))}
