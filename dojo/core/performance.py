"""How well answers turned out, as far as outcomes have arrived (D16).

A prediction is judged once its payment's outcome is in the lake (`with_outcomes`). With too few
labels a figure is missing and its reason is named: "insufficient_data" is never "ok".
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from dojo.core.events.types import Stream
from dojo.core.labels import WEIGHT, latest_labels, weights_of
from dojo.core.lake import Lake
from dojo.core.tasks.protocol import Task
from dojo.core.tasks.records import Answered, Decision, Figure

# The delay depends on the label from this difference on, in standard errors. It is between the two
# kinds' shares of labels within the median delay. By chance it occurs once in 15,000.
DEPENDENT_BEYOND = 4.0

Status = Literal["measured", "insufficient_data"]


class Performance(msgspec.Struct, frozen=True, kw_only=True):
    """Of one version, or of all (`version` "all").

    Attributes:
        labelled: Predictions with a label. `figures` rest on these alone.
        hidden: Predictions whose label will never be known, because the answer was acted on.
        degraded_share: Share of all predictions with a named degradation.
        reason: What is missing where `status` is insufficient_data. Then figures have no value.
        figures: The task's figures by name.
    """

    version: str
    predictions: int
    labelled: int
    hidden: int
    degraded_share: float | None
    status: Status
    reason: str
    figures: dict[str, Figure]


def judged_predictions(
    lake: Lake, model: str, since: datetime | None = None, until: datetime | None = None
) -> pl.DataFrame:
    """A model's predictions with since <= world_time < until, one per request.

    The latest answer of a request counts. Its `label` is null until it is known.

    Columns: request_id, world_time, version, score, flagged, entity_keys (JSON), is_degraded,
    label, weight.
    """
    predictions = (
        lake.scan(Stream.PREDICTIONS, since, until)
        .filter(pl.col("model") == model)
        .select(
            "request_id",
            "world_time",
            "version",
            "score",
            "flagged",
            "entity_keys",
            "wall_time",
            (pl.col("degraded").list.len() > 0).alias("is_degraded"),
        )
    )
    # Outcomes of every time: a prediction has the gateway's clock, an outcome its payment's. The
    # payment's may be behind `since`.
    return (
        with_outcomes(predictions, _outcomes(lake, model), how="left").drop("wall_time").collect()
    )


def labelled_predictions(
    lake: Lake,
    model: str,
    since: datetime,
    until: datetime,
    known_before: datetime,
    feature: str = "",
) -> pl.DataFrame:
    """A model's labelled predictions with since <= world_time < until, one per request.

    The outcome arrived before `known_before`. The label is the latest at that moment.

    Columns: world_time, version, score, flagged, label, weight, entity_keys (JSON) and `group`. The
    last is the value of `feature`, null where it is not in the vector.
    """
    position = (
        pl.col("feature_names").list.eval((pl.element() == feature).cast(pl.Int8)).list.arg_max()
    )
    has = pl.col("feature_names").list.contains(feature)
    predictions = (
        lake.scan(Stream.PREDICTIONS, since, until)
        .filter(pl.col("model") == model)
        .with_columns(
            pl.when(has)
            .then(pl.col("features").list.get(position, null_on_oob=True))
            .alias("group")
        )
        .select(
            "request_id",
            "world_time",
            "version",
            "score",
            "flagged",
            "wall_time",
            "entity_keys",
            "group",
        )
    )
    # A prediction has the gateway's clock, an outcome its payment's. So a label can be a moment
    # older than its prediction.
    outcomes = _outcomes(lake, model, since - timedelta(days=1), known_before)
    return (
        with_outcomes(predictions, outcomes, how="inner")
        .drop("wall_time", "request_id")
        .drop_nulls("label")
        .collect()
    )


def outcomes_of(
    lake: Lake, model: str, since: datetime | None = None, until: datetime | None = None
) -> pl.LazyFrame:
    """The latest outcome of each request of a model, as known before `until`.

    It has the lake's columns and `first_known`.

    Args:
        since: Outcomes that became known before are left out. It is no later than the oldest
            request in question.
    """
    return latest_labels(_outcomes(lake, model, since, until))


def _outcomes(
    lake: Lake, model: str, since: datetime | None = None, until: datetime | None = None
) -> pl.LazyFrame:
    return lake.scan(Stream.OUTCOMES, since, until).filter(pl.col("model") == model)


def delay_depends_on_label(
    delays: pl.Series, one_side: npt.NDArray[np.bool_], median: timedelta
) -> bool:
    """Whether labels of one kind come within the median delay more or less often than the others.

    If they do, early labels are a biased sample. Then only answers whose labels are complete may be
    judged.

    Args:
        delays: Of requests whose labels are complete, Duration, shape (rows,).
        one_side: Which of the same requests have a label of that kind (`Task.split_labels`).

    Source: the two-proportion z-test with a pooled share.
    """
    early = (delays <= median).to_numpy()
    n, m = int(one_side.sum()), int((~one_side).sum())
    if n == 0 or m == 0:
        return False
    pooled = early.mean()
    error = np.sqrt(max(pooled * (1 - pooled), 1e-9) * (1 / n + 1 / m))
    return bool(abs(early[one_side].mean() - early[~one_side].mean()) / error > DEPENDENT_BEYOND)


def with_outcomes(
    predictions: pl.LazyFrame, outcomes: pl.LazyFrame, how: Literal["inner", "left"]
) -> pl.LazyFrame:
    """Add each prediction's `label`: the batch form of `dojo/core/outcome_join.py: OutcomeJoin`.

    Args:
        predictions: Columns request_id, wall_time and any others. The latest answer of a request
            counts.
        outcomes: Outcomes of the predictions' model, in the lake's columns. The latest outcome of
            a request counts.
        how: "left" keeps the predictions without an outcome, with a null label. A null label with
            a weight will never be known.
    """
    latest = predictions.sort("wall_time").unique("request_id", keep="last", maintain_order=True)
    labels = latest_labels(outcomes).select("request_id", "label", weight=WEIGHT)
    return latest.join(labels, on="request_id", how=how)


def measure(judged: pl.DataFrame, task: Task, version: str = "all") -> Performance:
    """Performance of the rows of `judged_predictions`."""
    labelled = judged.filter(pl.col("label").is_not_null())
    results = task.results(answered_rows(labelled, task.listed_by))
    lacking = task.lacking(results)
    return Performance(
        version=version,
        predictions=len(judged),
        labelled=len(labelled),
        hidden=judged.filter(pl.col("label").is_null() & pl.col("weight").is_not_null()).height,
        degraded_share=int(judged["is_degraded"].sum()) / len(judged) if len(judged) else None,
        status="insufficient_data" if lacking else "measured",
        reason=lacking,
        figures={
            name: msgspec.structs.replace(figure, value=None) if lacking else figure
            for name, figure in results.figures.items()
        },
    )


def measure_by_version(judged: pl.DataFrame, task: Task) -> list[Performance]:
    """All versions together first, then each that answered, in order of their numbers.

    "0" is the spec's fallback.
    """
    versions = sorted(
        judged["version"].unique().to_list(),
        key=lambda v: (not v.isdigit(), int(v) if v.isdigit() else 0, v),
    )
    return [
        measure(judged, task),
        *(measure(judged.filter(pl.col("version") == v), task, v) for v in versions),
    ]


def answered_rows(
    rows: pl.DataFrame, entities: Sequence[str] = (), decision: Decision | None = None
) -> Answered:
    """Labelled predictions as a task wants them.

    Args:
        rows: Columns label, weight, score, flagged, world_time, and entity_keys (JSON).
        entities: The wanted entities. A prediction without one has the key "".
        decision: The decision of the rows' version. None where it is unknown.
    """
    return Answered(
        labels=rows["label"].to_numpy().astype(np.float64),
        scores=rows["score"].to_numpy().astype(np.float64),
        flagged=rows["flagged"].fill_null(False).to_numpy(),
        entities={
            entity: rows.select(
                pl.col("entity_keys").str.json_path_match(f"$.{entity}").fill_null("")
            )["entity_keys"].to_numpy()
            for entity in entities
        },
        times=rows["world_time"].dt.replace_time_zone(None).to_numpy(),
        weights=weights_of(rows),
        decision=decision or {},
    )
