"""The feature catalogue for people.

Each feature has its owner, meaning, source and unit, and the models that read it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dojo.core.spec.durations import format_duration
from dojo.core.spec.schema import ModelSpec
from feature_repo.catalog import FEATURES, REQUESTS, SERVICES, VIEWS, stored_of, views_of
from feature_repo.freshness import JudgedView
from feature_repo.services import RequestFeatures
from feature_repo.views import View


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """One feature and its lineage: source -> view -> feature -> services -> models.

    Attributes:
        feature: Name of the feature.
        view: Name of its view.
        kind: Batch, streaming or on_demand.
        entity: The described entity.
        owner: The owning team.
        unit: Unit of its number.
        description: Meaning for people.
        source: Origin of the values, for people.
        freshness_sla: Largest age, world time. `0s` for a feature computed in the request.
        pii: True if it describes one natural person.
        services: Feature services with this feature.
        models: Models that read it.
        freshness: The view's verdict now. None when the online store was not asked.
    """

    feature: str
    view: str
    kind: str
    entity: str
    owner: str
    unit: str
    description: str
    source: str
    freshness_sla: str
    pii: bool
    services: tuple[str, ...]
    models: tuple[str, ...]
    freshness: str | None


def catalog_entries(
    specs: Iterable[ModelSpec], freshness: Mapping[str, JudgedView] | None = None
) -> list[CatalogEntry]:
    """Return every feature of the catalogue.

    Args:
        specs: The models for the lineage.
        freshness: View name -> its judgement, when Redis runs.
    """
    models: dict[str, list[str]] = {}
    for spec in specs:
        models.setdefault(spec.feature_service, []).append(spec.name)
    read = {
        name: {*service.features, *(stored for _, stored in stored_of(name))}
        for name, service in SERVICES.items()
    }

    def entries(group: View | RequestFeatures, **shared: Any) -> Iterable[CatalogEntry]:
        for feature in group.features:
            services = tuple(name for name, features in read.items() if feature.name in features)
            yield CatalogEntry(
                feature=feature.name,
                view=group.name,
                unit=feature.unit,
                description=feature.description,
                source=group.source,
                pii=group.pii,
                services=services,
                models=tuple(
                    sorted(model for service in services for model in models.get(service, ()))
                ),
                **shared,
            )

    found: list[CatalogEntry] = []
    for view in VIEWS.values():
        found += entries(
            view,
            kind=view.kind,
            entity=view.entity,
            owner=view.owner,
            freshness_sla=format_duration(view.freshness_sla),
            freshness=(
                freshness[view.name].verdict if freshness and view.name in freshness else None
            ),
        )
    for request in REQUESTS.values():
        service = next(service for service in SERVICES.values() if service.request is request)
        mixed = dict.fromkeys(
            view.entity for view in views_of(service.name)
        )  # the values of several entities
        found += entries(
            request,
            kind="on_demand",
            entity="+".join(mixed),
            owner=service.owner,
            freshness_sla="0s",
            freshness=None,
        )
    return found


@dataclass(frozen=True, slots=True)
class Impact:
    """What a change of a view or feature means for one model.

    Attributes:
        owner: The team that owns the model.
        service: The model's feature service.
        inputs: Inputs of the model that change.
        computed: Whether features computed in its requests read a changed value.
    """

    model: str
    owner: str
    service: str
    inputs: tuple[str, ...]
    computed: bool


def impact(name: str, specs: Iterable[ModelSpec]) -> list[Impact]:
    """Return the models that a change of a view, of a request's features, or of a feature touches.

    Raises:
        KeyError: There is no such view, request or feature.
    """
    group = VIEWS.get(name) or REQUESTS.get(name)
    changed = {FEATURES[name].name} if group is None else {one.name for one in group.features}
    found = []
    for spec in specs:
        service = SERVICES[spec.feature_service]
        inputs = tuple(feature for feature in service.features if feature in changed)
        computed = bool({*service.request.stored, *service.request.names} & changed)
        if inputs or computed:
            found.append(Impact(spec.name, spec.owner, service.name, inputs, computed))
    return found


def search(entries: Iterable[CatalogEntry], text: str) -> list[CatalogEntry]:
    """Return the entries that contain every word of `text`.

    The search covers name, description, view, owner, source, unit, services and models.
    """
    words = text.lower().split()
    return [entry for entry in entries if all(word in _text(entry) for word in words)]


def _text(entry: CatalogEntry) -> str:
    parts = (
        entry.feature,
        entry.description,
        entry.view,
        entry.kind,
        entry.owner,
        entry.source,
        entry.unit,
    )
    return " ".join((*parts, *entry.services, *entry.models)).lower()
