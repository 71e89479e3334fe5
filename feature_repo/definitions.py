"""Feast's objects, built from the catalogue. The catalogue alone defines the features.

The import takes seconds because of Feast, so only `store.py` imports this module.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from feast import (
    Entity,
    FeatureService,
    FeatureView,
    Field,
    FileSource,
    OnDemandFeatureView,
    PushSource,
    RequestSource,
    ValueType,
)
from feast.transformation.pandas_transformation import PandasTransformation
from feast.types import Float64

from feature_repo.catalog import ENTITY_KEYS, REQUESTS, SERVICES, VIEWS, stored_of
from feature_repo.services import RequestFeatures
from feature_repo.views import STREAMING_MEMORY, View

# How far the point-in-time join looks back. Neither limit changes a value. A batch row is replaced
# every day. Otherwise the entity is forgotten and gets zeros, as for a missing row. An older
# streaming row means the same as a missing row.
TTL = {"batch": timedelta(hours=24), "streaming": STREAMING_MEMORY}


def build_definitions(offline_dir: Path) -> list[Any]:
    """Return all arguments for `FeatureStore.apply`.

    Args:
        offline_dir: Holds `<view>/date=YYYY-MM-DD.parquet` (pipelines/features/offline.py).
    """
    entities = {
        name: Entity(
            name=name,
            join_keys=[key],
            value_type=ValueType.STRING,
            description=f"A {name} of the shop.",
        )
        for name, key in ENTITY_KEYS.items()
    }
    views = {
        view.name: _feature_view(view, entities[view.entity], offline_dir)
        for view in VIEWS.values()
    }
    requests = {
        name: _on_demand_view(request, list(views.values())) for name, request in REQUESTS.items()
    }
    return [
        *entities.values(),
        *views.values(),
        *requests.values(),
        *(_service(name, views, requests) for name in SERVICES),
    ]


def push_source(view: str) -> str:
    """Return the name under which Feast's SDK pushes to a streaming view.

    The streamer writes the same rows without Feast (`online_rows.py`).
    """
    return f"{view}_push"


def _feature_view(view: View, entity: Entity, offline_dir: Path) -> FeatureView:
    files = FileSource(
        name=f"{view.name}_files",
        # DuckDB reads it as a pattern.
        path=f"{escape(str(offline_dir.resolve()))}/{view.name}/*.parquet",
        timestamp_field="event_timestamp",
    )
    return FeatureView(
        name=view.name,
        entities=[entity],
        schema=[
            Field(
                name=feature.name,
                dtype=Float64,
                description=feature.description,
                tags={"unit": feature.unit},
            )
            for feature in view.features
        ],
        source=(
            PushSource(name=push_source(view.name), batch_source=files)
            if view.kind == "streaming"
            else files
        ),
        ttl=TTL[view.kind],
        online=True,
        description=view.description,
        owner=view.owner,
        tags={
            "kind": view.kind,
            "source": view.source,
            "freshness_sla_seconds": f"{view.freshness_sla.total_seconds():g}",
            "pii": str(view.pii).lower(),
        },
    )


def _on_demand_view(request: RequestFeatures, views: list[FeatureView]) -> OnDemandFeatureView:
    descriptions = {
        **{one.name: one.description for one in request.inputs},
        request.time_input: "When, unix seconds UTC.",
    }
    sent = RequestSource(
        name=f"{request.name}_request",
        schema=[
            Field(name=name, dtype=Float64, description=text) for name, text in descriptions.items()
        ],
        description="What the caller sends with a prediction request.",
    )
    formulas = f"{request.compute.__module__}.{request.compute.__name__}"
    return OnDemandFeatureView(
        name=request.name,
        sources=[*views, sent],
        # Bare fields, because Feast compares them with the fields it infers from the function. It
        # compares descriptions and tags too.
        schema=[Field(name=name, dtype=Float64) for name in _fields(request)],
        feature_transformation=PandasTransformation(
            udf=_on_columns(request.name), udf_string=formulas
        ),
        mode="pandas",
        description=f"Request-time features ({formulas}).",
        owner=next(service.owner for service in SERVICES.values() if service.request == request),
        tags={
            "kind": "on_demand",
            "source": "request",
            "freshness_sla_seconds": "0",
            "pii": str(request.pii).lower(),
        },
    )


def _fields(request: RequestFeatures) -> list[str]:
    """Return the computed features, without inputs that are features themselves.

    Feast returns those inputs anyway and refuses a repeated name.
    """
    return [feature.name for feature in request.features if feature.name not in request.needed]


def _on_columns(name: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Return the gateway's formulas on columns.

    Feast pickles the function, so it looks the formulas up by name.
    """

    def computed(inputs: pd.DataFrame) -> pd.DataFrame:
        request = REQUESTS[name]
        # Entity keys are among the inputs, too.
        columns = {
            needed: inputs[needed].astype(np.float64).fillna(0.0).to_numpy()
            for needed in request.needed
        }
        found = request.compute(columns, choose=np.where)
        return pd.DataFrame({field: found[field] for field in _fields(request)}, index=inputs.index)

    return computed


def _service(
    name: str, views: dict[str, FeatureView], requests: dict[str, OnDemandFeatureView]
) -> FeatureService:
    service, stored = SERVICES[name], stored_of(name)
    selected = [
        views[view][[one for of, one in stored if of.name == view]]
        for view in dict.fromkeys(of.name for of, _ in stored)
    ]
    if computed := [field for field in service.features if field in _fields(service.request)]:
        selected.append(requests[service.request.name][computed])
    return FeatureService(name=name, features=selected, owner=service.owner)
