"""Batch scores against the online answers of the same requests.

Equal features must give equal scores, because one bundle scores both. Features may differ, because
the gateway saw the online store of that second. A row that was late there is in time here.
`pipelines/features/skew.py` judges such differences, and this page names their requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import polars as pl

from dojo.core.events.types import Stream
from dojo.core.lake import Lake, start_of
from pipelines.batch_scoring.record import BatchRun, Equality

# Largest difference of two scores of one row by one model file. It is a share of the score or of 1.
# ONNX Runtime adds the trees of a batch and of one row in different orders, in float32.
SCORE_TOLERANCE = 1e-6

EXAMPLES = 10
# An answer is logged at most a clock's round after its request, also over midnight.
LATE = timedelta(days=1)


def compare_with_online(
    lake: Lake, run: BatchRun, rows: pl.DataFrame, scored: pl.DataFrame, features: Sequence[str]
) -> Equality:
    """Compare a run's scores with the logged predictions.

    Args:
        lake: The lake with the predictions.
        run: The run.
        rows: request_id and the features, as scored.
        scored: The run's rows of the lake.
        features: The bundle's features, in order.
    """
    start = start_of(run.day)
    online = (
        lake.scan(Stream.PREDICTIONS, start, start + timedelta(days=1) + LATE)
        .filter(
            (pl.col("model") == run.model)
            & (pl.col("version") == run.version)
            & (pl.col("degraded").list.len() == 0)
        )
        .select(
            "request_id",
            "feature_names",
            pl.col("features").alias("online_features"),
            pl.col("score").alias("online_score"),
            pl.col("flagged").alias("online_flagged"),
        )
        .unique("request_id", keep="last", maintain_order=True)
        .collect()
        .filter(pl.col("feature_names") == list(features))
    )
    both = online.join(
        scored.select("request_id", "score", "flagged"), on="request_id", how="inner"
    ).join(rows.select("request_id", *features), on="request_id", how="inner")
    if both.is_empty():
        return Equality(
            compared=0, same_features=0, wrong=0, largest=0.0, differing={}, examples=()
        )
    served = np.array(both["online_features"].to_list(), dtype=np.float32)
    computed = both.select(features).to_numpy().astype(np.float32)
    unlike = served != computed
    same = ~unlike.any(axis=1)
    score, online_score = both["score"].to_numpy(), both["online_score"].to_numpy()
    gap = np.abs(score - online_score) / np.maximum(1.0, np.abs(online_score))
    flags = (
        both.select(pl.col("flagged").ne_missing(pl.col("online_flagged"))).to_series().to_numpy()
    )
    differing = {
        name: int(count) for name, count in zip(features, unlike.sum(axis=0), strict=True) if count
    }
    return Equality(
        compared=len(both),
        same_features=int(same.sum()),
        # A flag decides by the score's bits, so a rounding beside the threshold is no other answer.
        wrong=int((same & ((gap > SCORE_TOLERANCE) | (flags & (gap == 0.0)))).sum()),
        largest=float(gap[same].max()) if same.any() else 0.0,
        differing=dict(sorted(differing.items(), key=lambda item: -item[1])),
        examples=tuple(both.filter(pl.Series(~same))["request_id"].sort().head(EXAMPLES)),
    )
