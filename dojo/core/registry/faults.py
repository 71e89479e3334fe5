"""What was changed in the registry past the platform.

One function finds it, for the monitor, for trainings and for commands.

MLflow's own pages and API move roles and delete versions, and no process of the platform is told.
The platform's own record names the version that serves: the route, and the audit trail's newest
entry on the champion. The registry is held against that record.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dojo.core.registry.errors import UnknownVersionError
from dojo.core.registry.mlflow_answers import DELETED
from dojo.core.registry.tags import VersionTags
from dojo.core.registry.versions import CHAMPION, PREVIOUS_CHAMPION, ModelRegistry, Version
from dojo.core.state.audit import Entry
from dojo.core.state.registry_faults import RegistryFault
from dojo.core.state.routes import Route


@dataclass(frozen=True, slots=True)
class ServingRecord:
    """What the platform itself recorded of a model's serving versions.

    Attributes:
        champion: The version with the role, "" for none. Without an entry in the trail, the version
            with most of the traffic.
        told: Whether the trail names a champion.
        serving: The version with most of the traffic, "" for none.
        versions: These two, and the route's other arms.
        tags: The champion's registration tags, as they were when it got the role. Empty where they
            are not recorded.
    """

    champion: str
    told: bool
    serving: str
    versions: frozenset[str]
    tags: Mapping[str, str]


def serving_record(route: Route | None, champion: Entry | None) -> ServingRecord:
    """The record of a model.

    Args:
        champion: The trail's newest entry (`AuditTrail.newest_champion`), None where it has none.
    """
    told = champion.after if champion is not None else {}
    primary = route.primary.version if route is not None else ""
    holder = str(told.get("champion") or "") if champion is not None else primary
    arms = {arm.version for arm in route.arms} if route is not None else set()
    return ServingRecord(
        champion=holder,
        told=champion is not None,
        serving=primary or holder,
        versions=frozenset({*arms, holder} - {""}),
        tags=told.get("tags") or {},
    )


def find_faults(
    registry: ModelRegistry, model: str, record: ServingRecord
) -> tuple[RegistryFault, ...]:
    """Everything of a model that is not as the platform left it, the worst first.

    Raises:
        RegistryUnavailableError: MLflow does not answer.
    """
    return tuple(_find(registry, model, record))


def recorded_tags(registry: ModelRegistry, version: Version, record: ServingRecord) -> VersionTags:
    """Return the tags that a version keeps from its registration on.

    They come from the audit trail, or else from the version's run.

    Raises:
        UnknownVersionError: The run is gone.
        RegistryUnavailableError: MLflow does not answer.
    """
    if record.tags and record.champion == version.version:
        return VersionTags.read(record.tags).recorded()
    run = registry.api.get_run(version.run_id)
    return VersionTags.read({tag.key: tag.value for tag in run.data.tags}).recorded()


def _find(registry: ModelRegistry, model: str, record: ServingRecord) -> Iterator[RegistryFault]:
    experiment = _experiment_fault(registry, model)
    if record.versions:
        known = {version.version: version for version in registry.versions(model)}
        if not known and not registry.has_model(model):
            yield _model_fault(model, record)
        else:
            yield from _lost_versions(model, record, known)
            yield from _role_fault(model, record, known)
            if (served := known.get(record.serving)) is not None:
                yield from _faults_of(registry, served, record, known, experiment is not None)
    if experiment is not None:
        yield experiment


def _experiment_fault(registry: ModelRegistry, model: str) -> RegistryFault | None:
    try:
        experiment = registry.api.get_experiment(model)
    except UnknownVersionError:
        return None  # never trained, or deleted for good: the next training makes one
    if experiment.lifecycle_stage != DELETED:
        return None
    return RegistryFault(
        kind="experiment",
        what=f"MLflow's experiment {model} is deleted: no training can log its run there",
        next_step=restore_command(model, "its experiment was deleted in MLflow"),
    )


def _model_fault(model: str, record: ServingRecord) -> RegistryFault:
    return RegistryFault(
        kind="model",
        what=(
            f"MLflow has no registered model {model} any more, and version {record.serving} of it"
            " serves"
        ),
        next_step=(
            "give it its name back in MLflow; or, if it is deleted for good, dojo models retire"
            f" {model} --why "
            f'"it was deleted in MLflow", then dojo train {model}'
        ),
    )


def _lost_versions(
    model: str, record: ServingRecord, known: dict[str, Version]
) -> Iterator[RegistryFault]:
    for version in sorted(record.versions - known.keys(), key=_number):
        if version in (record.serving, record.champion):
            yield RegistryFault(
                kind="version",
                what=(
                    f"version {version} serves and is not in the registry any more: only the"
                    " gateway's cache has it"
                ),
                next_step=_replace_command(model, version, known, "was deleted in MLflow"),
            )
        else:
            yield RegistryFault(
                kind="arm",
                what=f"version {version} is in the route and not in the registry any more",
                next_step=(
                    f'dojo routes set {model} --strategy champion --why "version {version} was'
                    ' deleted in MLflow"'
                ),
            )


def _role_fault(
    model: str, record: ServingRecord, known: dict[str, Version]
) -> Iterator[RegistryFault]:
    if record.champion not in known:
        return
    holder = _holder(known, CHAMPION)
    if holder is None:
        yield RegistryFault(
            kind="role",
            what=(
                f"version {record.champion} lost the champion's role in MLflow, past the platform,"
                " and no version has it"
            ),
            next_step=restore_command(model, "its role was removed in MLflow"),
        )
    elif (
        record.told and holder.version != record.champion
    ):  # by the route alone it may be a switch by hand
        yield RegistryFault(
            kind="role",
            what=(
                "the champion's role was moved in MLflow, past the platform, from version"
                f" {record.champion} to {holder.version}"
            ),
            next_step=(
                f"{restore_command(model, 'its role was moved in MLflow')}; or, if the move was"
                " meant, "
                f'dojo models promote {model}@{holder.version} --why "it was meant"'
            ),
        )


def _faults_of(
    registry: ModelRegistry,
    served: Version,
    record: ServingRecord,
    known: dict[str, Version],
    with_experiment: bool,
) -> Iterator[RegistryFault]:
    """What is wrong with the version that serves: its bundle, its run, its tags."""
    from dojo.core.registry.bundle import (
        BUNDLE_FILE,
        HASHED_FILES,
    )  # ONNX Runtime: not for a command that asks for no fault

    model, number = served.model, served.version
    lost = {BUNDLE_FILE, *HASHED_FILES} - set(registry.api.list_artifacts(served.source))
    if lost:
        yield RegistryFault(
            kind="bundle",
            what=(
                f"version {number} serves and its bundle in MLflow's store lacks"
                f" {', '.join(sorted(lost))} ({served.source}): only the gateway's cache has it"
                " whole"
            ),
            next_step=(
                "bring the files back from a backup, or"
                f" {_replace_command(model, number, known, 'lost its bundle')}"
            ),
        )
    try:
        run = registry.api.get_run(served.run_id)
    except UnknownVersionError:
        yield RegistryFault(
            kind="record",
            what=(
                f"version {number} serves and its run is deleted for good in MLflow: no record says"
                " what it was trained on"
            ),
            next_step=_replace_command(model, number, known, "lost its run"),
        )
        return
    if run.info.lifecycle_stage == DELETED and not with_experiment:
        yield RegistryFault(
            kind="run",
            what=(
                f"the run of version {number} is deleted in MLflow: `mlflow gc` would delete the"
                " version's bundle too"
            ),
            next_step=restore_command(model, "its run was deleted in MLflow"),
        )
    recorded = recorded_tags(registry, served, record).written()
    changed = sorted(name for name, value in recorded.items() if served.tags.raw.get(name) != value)
    if changed:
        yield RegistryFault(
            kind="tags",
            what=(
                f"tags of version {number} are not those that it was registered with:"
                f" {', '.join(changed)}"
            ),
            next_step=restore_command(model, "its tags were changed in MLflow"),
        )


def restore_command(model: str, why: str) -> str:
    """What a person types to have the registry as the platform left it."""
    return f'dojo models restore {model} --why "{why}"'


def _replace_command(model: str, lost: str, known: dict[str, Version], why: str) -> str:
    """The command that gives another version the traffic and the role of a lost version."""
    able = [_holder(known, CHAMPION), _holder(known, PREVIOUS_CHAMPION)]
    other = next(
        (version.version for version in able if version is not None and version.version != lost), ""
    )
    if other:
        return f'dojo models rollback {model} --to {other} --why "version {lost} {why}"'
    return (
        f'dojo train {model}, then dojo models promote {model}@VERSION --why "version {lost} {why}"'
    )


def _holder(known: dict[str, Version], alias: str) -> Version | None:
    return next((version for version in known.values() if alias in version.aliases), None)


def _number(version: str) -> tuple[int, str]:
    return (int(version), "") if version.isdigit() else (0, version)
