"""A small shop whose fraud changes in the middle.

So a retrained model honestly beats the first one.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import polars as pl

from dojo.core.lake import Lake
from dojo.core.settings import Settings, load_settings
from dojo.core.spec.schema import ModelSpec
from pipelines.release.artefacts import dump_spec
from pipelines.training.job import Job
from tests.support.payments import START, fill_lake, label, payments, small_spec

PER_DAY = 160
SHIFT = timedelta(days=30)
FIRST_AS_OF = START + timedelta(days=36)  # examples of days 5 to 29: before the shift
LATER_AS_OF = START + timedelta(days=66)  # examples of days 35 to 59: after it
DAYS = 70


def shifted_payments() -> pl.DataFrame:
    """Make payments. Fraud is cheap at first and expensive later, at the same few merchants."""
    rows = payments(DAYS, per_day=PER_DAY)
    early_fraud = (pl.col("label") == 1) & (pl.col("time") < START + SHIFT)
    return rows.with_columns(
        pl.when(early_fraud)
        .then((pl.col("amount") / 16).round(2))
        .otherwise("amount")
        .alias("amount")
    )


def fill(root: Path, models: Sequence[str] = ()) -> Lake:
    return fill_lake(root, shifted_payments(), START + timedelta(days=DAYS), models)


def write_spec(models: Path, name: str, approval: str = "none") -> ModelSpec:
    """Write the small shop's spec into `models` under another name, with few bootstrap draws.

    A lake beside `models` gets the model's labels.
    """
    spec = small_spec(name)
    spec = spec.model_copy(
        update={
            "gate": spec.gate.model_copy(update={"bootstrap_draws": 300}),
            "rollout": spec.rollout.model_copy(update={"approval": approval}),
        }
    )
    models.mkdir(parents=True, exist_ok=True)
    (models / f"{name}.yaml").write_text(dump_spec(spec))
    if (lake := models.parent / "lake").exists():
        label(Lake(lake), shifted_payments(), START + timedelta(days=DAYS), name)
    return spec


def settings_for(home: Path, redis_url: str, mlflow_url: str) -> Settings:
    return load_settings(
        home=home, models_dir=home / "models", redis_url=redis_url, mlflow_url=mlflow_url
    )


def first_job(model: str) -> Job:
    return Job(model=model, key="first", as_of=FIRST_AS_OF, reason="the first version", who="tests")


def later_job(model: str, key: str = "later", days: int = 0, dry_run: bool = False) -> Job:
    as_of = LATER_AS_OF + timedelta(days=days)
    return Job(
        model=model, key=key, as_of=as_of, reason="the world shifted", who="tests", dry_run=dry_run
    )
