"""Feast's objects, built from the catalogue: nothing about a feature is said here that the catalogue does not say.

Importing this takes seconds (Feast); only `store.py` does.
"""

from __future__ import annotations

from datetime import timedelta
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

from feature_repo import on_demand
from feature_repo.catalog import ENTITY_KEYS, SERVICES, VIEWS, View, views_of

REQUEST_VIEW = "payment_request"

# How far the point-in-time join looks back. Neither changes a value: a batch row is replaced every day (or the entity is forgotten: zeros, as for a missing row), and an
# activity older than the cap of "seconds since" reads as the cap.
BATCH_TTL = timedelta(hours=24)
STREAMING_TTL = timedelta(seconds=on_demand.SECONDS_SINCE_CAP)

# A request input that is a feature as it stands (the amount) comes back to the caller anyway; Feast refuses the name twice.
ON_DEMAND_FIELDS = tuple(name for name in on_demand.FEATURES if name not in on_demand.REQUEST_INPUTS)


def request_features(inputs: pd.DataFrame) -> pd.DataFrame:
    """The request-time features of Feast's on-demand view: the gateway's formulas on columns."""
    needed = [*on_demand.REQUEST_INPUTS, *on_demand.STORED_INPUTS]  # entity keys come along, too
    columns = {name: inputs[name].astype(np.float64).fillna(0.0).to_numpy() for name in needed}
    computed = on_demand.compute(columns, choose=np.where)
    return pd.DataFrame({name: computed[name] for name in ON_DEMAND_FIELDS}, index=inputs.index)


def build_definitions(offline_dir: Path) -> list[Any]:
    """Everything that `FeatureStore.apply` gets.

    Args:
        offline_dir: holds `<view>/date=YYYY-MM-DD.parquet` (pipelines/features/offline.py).
    """
    entities = {
        name: Entity(name=name, join_keys=[key], value_type=ValueType.STRING, description=f"A {name} of the shop.")
        for name, key in ENTITY_KEYS.items()
    }
    views = {view.name: _feature_view(view, entities[view.entity], offline_dir) for view in VIEWS.values()}
    payment = RequestSource(
        name=REQUEST_VIEW,
        schema=[Field(name=name, dtype=Float64, description=text) for name, text in on_demand.REQUEST_INPUTS.items()],
        description="What the caller sends with a prediction request.",
    )
    on_demand_view = OnDemandFeatureView(
        name="payment",
        sources=[*views.values(), payment],
        # Bare fields: Feast compares them, description and tags included, with what it infers from the function.
        schema=[Field(name=name, dtype=Float64) for name in ON_DEMAND_FIELDS],
        feature_transformation=PandasTransformation(
            udf=request_features, udf_string="feature_repo.definitions.request_features"
        ),
        mode="pandas",
        description="Request-time features (feature_repo/on_demand.py).",
        owner="payments-risk",
        tags={"kind": "on_demand", "source": "request", "freshness_sla_seconds": "0", "pii": "true"},
    )
    services = [
        FeatureService(
            name=service,
            features=[
                *(_selected(views[view.name], view, names) for view in views_of(service)),
                on_demand_view[[name for name in names if name in ON_DEMAND_FIELDS]],
            ],
            owner="payments-risk",
        )
        for service, names in SERVICES.items()
    ]
    return [*entities.values(), *views.values(), on_demand_view, *services]


def _feature_view(view: View, entity: Entity, offline_dir: Path) -> FeatureView:
    files = FileSource(
        name=f"{view.name}_files",
        path=str(offline_dir.resolve() / view.name / "*.parquet"),
        timestamp_field="event_timestamp",
    )
    streaming = view.kind == "streaming"
    return FeatureView(
        name=view.name,
        entities=[entity],
        schema=[
            Field(name=feature.name, dtype=Float64, description=feature.description, tags={"unit": feature.unit})
            for feature in view.features
        ],
        source=PushSource(name=push_source(view.name), batch_source=files) if streaming else files,
        ttl=STREAMING_TTL if streaming else BATCH_TTL,
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


def push_source(view: str) -> str:
    """The name under which the streamer pushes to a streaming view."""
    return f"{view}_push"


def _selected(feast_view: FeatureView, view: View, names: tuple[str, ...]) -> FeatureView:
    wanted = [f.name for f in view.features if f.name in names or f.name in on_demand.STORED_INPUTS]
    selected: FeatureView = feast_view[wanted]
    return selected
