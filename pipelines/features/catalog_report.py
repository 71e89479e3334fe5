"""The feature catalogue as people ask for it: every feature with its owner, meaning, source and unit, and which models read it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dojo.core.spec.durations import format_duration
from dojo.core.spec.load import ModelSpec
from feature_repo import on_demand
from feature_repo.catalog import ENTITY_KEYS, SERVICES, VIEWS, views_of
from feature_repo.freshness import JudgedView


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """One feature and its lineage: source -> view -> feature -> services -> models.

    Attributes:
        freshness_sla: world time; `0s` for what is computed in the request.
        freshness: the view's verdict right now; None when the online store was not asked.
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


# Request-time features belong to no stored view; they mix both entities' values with what the caller sends.
ON_DEMAND_VIEW = "payment"
ON_DEMAND_OWNER = "payments-risk"


def catalog_entries(specs: Iterable[ModelSpec], freshness: Mapping[str, JudgedView] | None = None) -> list[CatalogEntry]:
    """Every feature of the catalogue.

    Args:
        specs: the models whose feature services make the lineage.
        freshness: view name -> its judgement, when Redis runs.
    """
    models: dict[str, list[str]] = {}
    for spec in specs:
        models.setdefault(spec.feature_service, []).append(spec.name)

    def users(feature: str, view: str | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
        services = tuple(name for name, features in SERVICES.items() if feature in features or _is_input(feature, view, name))
        return services, tuple(sorted(model for service in services for model in models.get(service, ())))

    entries = []
    for view in VIEWS.values():
        verdict = freshness[view.name].verdict if freshness and view.name in freshness else None
        for feature in view.features:
            services, readers = users(feature.name, view.name)
            entries.append(
                CatalogEntry(
                    feature=feature.name,
                    view=view.name,
                    kind=view.kind,
                    entity=view.entity,
                    owner=view.owner,
                    unit=feature.unit,
                    description=feature.description,
                    source=view.source,
                    freshness_sla=format_duration(view.freshness_sla),
                    pii=view.pii,
                    services=services,
                    models=readers,
                    freshness=verdict,
                )
            )
    for name, (unit, description) in on_demand.FEATURES.items():
        services, readers = users(name, None)
        entries.append(
            CatalogEntry(
                feature=name,
                view=ON_DEMAND_VIEW,
                kind="on_demand",
                entity="+".join(ENTITY_KEYS),
                owner=ON_DEMAND_OWNER,
                unit=unit,
                description=description,
                source="request: amount, time; stored features",
                freshness_sla="0s",
                pii=True,
                services=services,
                models=readers,
                freshness=None,
            )
        )
    return entries


def search(entries: Iterable[CatalogEntry], text: str) -> list[CatalogEntry]:
    """Entries with every word of `text` in their name, description, view, owner, source, unit, services or models."""
    words = text.lower().split()
    return [entry for entry in entries if all(word in _text(entry) for word in words)]


def _is_input(feature: str, view: str | None, service: str) -> bool:
    """Whether a service reads the stored feature through its request-time features."""
    return feature in on_demand.STORED_INPUTS and view in {v.name for v in views_of(service)}


def _text(entry: CatalogEntry) -> str:
    parts = (entry.feature, entry.description, entry.view, entry.kind, entry.owner, entry.source, entry.unit)
    return " ".join((*parts, *entry.services, *entry.models)).lower()
