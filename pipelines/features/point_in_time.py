"""Training rows: each example with the values that its feature service would have served then.

Stored features come from Feast's point-in-time join. Request-time features are computed on its
result with the gateway's own function. Feast's on-demand step would give the same numbers, but copy
the whole set through pandas twice more.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from feature_repo.catalog import SERVICES, views_of
from pipelines.features.category_columns import as_numbers

if TYPE_CHECKING:
    from feast import FeatureStore


def point_in_time_rows(store: FeatureStore, service: str, examples: pl.DataFrame) -> pl.DataFrame:
    """Return `examples` with the service's features as of each example's time.

    Args:
        store: Feast's store.
        service: A key of catalog.SERVICES.
        examples: The entity keys, event_timestamp (UTC) and the request's inputs. Other columns are
            kept.

    Returns:
        The examples in their order. They have the stored features of the service's views (Float64)
        and the service's features (Float32). The latter win where a name is in both. A missing
        value is 0.
    """
    if examples.is_empty():
        raise ValueError("no examples: point-in-time rows need at least one")
    views, features, request = (
        views_of(service),
        SERVICES[service].features,
        SERVICES[service].request,
    )
    stored = [name for view in views for name in view.names]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # ibis uses old names of DuckDB
        job = store.get_historical_features(
            entity_df=examples.select(
                *dict.fromkeys(view.key for view in views), "event_timestamp"
            ).to_pandas(),
            features=[f"{view.name}:{name}" for view in views for name in view.names],
        )
        joined = pl.DataFrame(job.to_arrow())
    values = joined.select(pl.col(stored).fill_null(0.0))

    time_input = (pl.col("event_timestamp").dt.epoch("us") / 1_000_000).alias(request.time_input)
    inputs = values.hstack(
        examples.select(
            pl.col(request.numbers).cast(pl.Float64),
            *(as_numbers(examples[name]) for name in request.categories),
            time_input,
        )
    )
    computed = request.compute(
        {name: inputs[name].to_numpy() for name in request.needed}, choose=np.where
    )
    everything = values.with_columns(pl.Series(name, column) for name, column in computed.items())
    return pl.concat(
        [
            examples.drop(set(features) & set(examples.columns)),
            values.drop(set(features) & set(stored)),
            everything.select(pl.col(features).cast(pl.Float32)),
        ],
        how="horizontal",
    )
