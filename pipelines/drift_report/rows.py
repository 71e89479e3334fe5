"""The two sides of a report, as equal columns.

They are a version's reference rows from its run, and a window's predictions from the lake.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from dojo.core.events.types import Stream
from dojo.core.lake import Lake
from dojo.core.registry.errors import UnknownVersionError
from dojo.core.registry.versions import ModelRegistry, Version
from pipelines.release.mlflow_run import RECORD_PATH
from pipelines.training.errors import RefusedError
from pipelines.training.reference_rows import REFERENCE_ROWS_FILE, SCORE_COLUMN

# Rows sampled from a window. Evidently draws 40 columns of 5,000 rows in 10 s and 6 MB of HTML.
# Both grow with the rows, and more rows make no drawing clearer.
MOST_ROWS = 5000
SEED = 20180401  # the same window gives the same report


class NoReferenceError(RefusedError):
    """The version has no reference rows to compare with."""


class EmptyWindowError(RefusedError):
    """No prediction of the version lies in the window."""


def reference_side(registry: ModelRegistry, version: Version) -> pl.DataFrame:
    """Return the version's reference rows, with the features in the model's order and the score.

    Raises:
        NoReferenceError: The version's run has none.
        RegistryUnavailableError: MLflow does not answer.
    """
    with TemporaryDirectory() as directory:
        try:
            file = registry.download_run_artifact(
                version, f"{RECORD_PATH}/{REFERENCE_ROWS_FILE}", Path(directory)
            )
        except (UnknownVersionError, OSError) as error:
            raise NoReferenceError(
                f"{version.model}@{version.version}: run {version.run_id or '(none)'} has no"
                f" {RECORD_PATH}/{REFERENCE_ROWS_FILE}; versions registered by `dojo train` or"
                " `dojo retrain` have it, older ones and others do not"
            ) from error
        return pl.read_parquet(file, glob=False)


def window_side(
    lake: Lake, model: str, version: str, start: datetime, end: datetime, columns: Sequence[str]
) -> tuple[pl.DataFrame, int]:
    """Return up to MOST_ROWS predictions of the window, and the number of comparable ones.

    Args:
        lake: The lake.
        model: The model.
        version: The version.
        start: World time of the beginning, included.
        end: World time of the end, excluded.
        columns: The reference's columns, with features in the model's order and the score.

    Raises:
        EmptyWindowError: There are no predictions, or none was scored with these features.
    """
    features = [name for name in columns if name != SCORE_COLUMN]
    found = (
        lake.scan(Stream.PREDICTIONS, start, end)
        .filter(pl.col("model") == model, pl.col("version") == version)
        .select("prediction_id", "feature_names", "features", "score")
        .unique("prediction_id")
        .collect()
    )
    if found.is_empty():
        raise EmptyWindowError(
            f"{model}@{version}: no prediction in the lake from {start.isoformat()} to"
            f" {end.isoformat()}; it answered none then, or the recorder has not written them yet"
        )
    known = found.filter(pl.col("feature_names") == pl.lit(features, dtype=pl.List(pl.String)))
    if known.is_empty():
        other = found["feature_names"].list.join(", ").unique(maintain_order=True)[0]
        raise EmptyWindowError(
            f"{model}@{version}: expected predictions with features {', '.join(features)}, found"
            f" {other}"
        )
    drawn = known.sort("prediction_id").sample(min(MOST_ROWS, known.height), seed=SEED)
    values = drawn["features"].list.to_struct(fields=features).struct.unnest()
    # `Float32` as in the reference, because the model sees it. As `Float64`, 57.16 is above the
    # edge at the `Float32` of 57.16.
    return (
        values.cast(pl.Float32).with_columns(drawn["score"].alias(SCORE_COLUMN)).select(columns),
        known.height,
    )
