"""A small shop's lake with a day to score, and a bundle to score it with."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from dojo.core.lake import Lake
from dojo.core.registry.bundle import load_bundle
from dojo.core.spec.schema import Batch, ModelSpec
from dojo.core.tasks.specs import task_of
from pipelines.batch_scoring.rows import keys_of
from pipelines.batch_scoring.run import DayScoring
from pipelines.batch_scoring.scores import BatchScorer
from tests.support.bundles import make_bundle
from tests.support.payments import START, fill_lake, payments, small_spec

DAYS = 44
DAY = START + timedelta(days=DAYS)
CHUNK_ROWS = 30
BATCH = Batch(after=timedelta(hours=2), keep_online=timedelta(days=2))


class ScoredDay:
    """The world under `root`. Several homes may score its day."""

    def __init__(self, root: Path, start: datetime = START, prefix: str = "") -> None:
        self.root, self.day = root, (start + timedelta(days=DAYS)).date()
        self.rows = payments(DAYS + 2, start=start).with_columns(
            **{name: pl.lit(prefix) + pl.col(name) for name in ("customer_id", "merchant_id")}
        )
        self.end = start + timedelta(days=DAYS + 2)
        self.bundle, self.sha256 = root / "bundle", make_bundle(root / "bundle")

    @property
    def spec(self) -> ModelSpec:
        return small_spec("fraud_detection").model_copy(update={"batch": BATCH})

    def lake(self, home: Path) -> Lake:
        """Return the home's lake, filled at the first call."""
        if (home / "lake").exists():
            return Lake(home / "lake")
        return fill_lake(home / "lake", self.rows, self.end)

    def scorer(self, version: str = "1") -> BatchScorer:
        bundle, scorer = load_bundle(self.bundle, self.sha256)
        spec = self.spec
        keys = keys_of(bundle.feature_service, spec.entities)
        return BatchScorer(version, bundle, scorer, task_of(spec), keys)

    def scoring(self, home: Path, version: str = "1") -> DayScoring:
        return DayScoring(
            self.spec,
            self.scorer(version),
            self.sha256,
            self.day,
            self.lake(home),
            home,
            chunk_rows=CHUNK_ROWS,
        )
