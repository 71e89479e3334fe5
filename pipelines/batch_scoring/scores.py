"""Scores of a frame of feature rows, as rows of the lake. Pure.

A row's content depends on the rows, the bundle and the run's begin only. So a repeated chunk is the
same file, byte for byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from dojo.core.events.types import BatchScore, Stream
from dojo.core.lake import SCHEMAS
from dojo.core.registry.bundle import Bundle, OnnxScorer
from dojo.core.tasks.protocol import Task
from pipelines.gate.decide import inputs_of


@dataclass(frozen=True, slots=True)
class BatchScorer:
    """One version, ready to score.

    Attributes:
        version: The version's number.
        bundle: Its bundle.
        scorer: Its model.
        task: The task of its model's spec.
        keys: Entity -> column of its key.
    """

    version: str
    bundle: Bundle
    scorer: OnnxScorer
    task: Task
    keys: Mapping[str, str]

    def score(self, rows: pl.DataFrame, begun: datetime) -> pl.DataFrame:
        """Return one row of the lake per feature row, in the same order.

        Args:
            rows: request_id, event_timestamp, the entities' keys and the bundle's features.
            begun: Wall time of the run's begin.
        """
        scores: npt.NDArray[np.float64] = self.scorer.score(inputs_of(rows, self.bundle)).astype(
            np.float64
        )
        model, flagged = self.bundle.model, self.task.flagged(scores, self.bundle.decision)
        id_prefix = BatchScore.id_for(model, self.version, "")
        return rows.select(
            pl.format("{}{}", pl.lit(id_prefix), "request_id").alias("event_id"),
            pl.col("event_timestamp").alias("world_time"),
            pl.lit(begun).alias("wall_time"),
            pl.lit(model).alias("model"),
            pl.lit(self.version).alias("version"),
            "request_id",
            pl.struct(pl.col(key).alias(entity) for entity, key in self.keys.items())
            .struct.json_encode()
            .alias("entity_keys"),
            pl.Series("score", scores),
            pl.Series("flagged", flagged, dtype=pl.Boolean)
            if flagged is not None
            else pl.lit(None, dtype=pl.Boolean).alias("flagged"),
        ).cast(SCHEMAS[Stream.BATCH_SCORES])  # type: ignore[arg-type]
