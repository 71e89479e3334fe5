"""How well answers turned out, as far as outcomes have arrived (D16), and what can be expected of them before.

A prediction is judged once its payment's outcome is in the lake (`with_outcomes`). With too few labels a figure is missing
and its reason is named: "insufficient_data" is never "ok".
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
from dojo.core.lake import Lake
from dojo.core.registry.reference_profile import SCORE_EDGES, Group
from dojo.stats.inference.proportions import clustered_rate
from dojo.stats.scores.classification import MINIMUM_POSITIVES, pr_auc
from dojo.stats.scores.expected_performance import expected_average_precision

# Fewer legitimate payments are insufficient data too: 1,000 leave a false-positive rate of 1 % +-0.6 percentage points (95 %).
MINIMUM_NEGATIVES = 1000

# Standard errors between the shares of positives and of others whose label came within the median delay, from which on the
# delay depends on the label: one in 15,000 by chance.
DEPENDENT_BEYOND = 4.0

Status = Literal["measured", "insufficient_data"]


class Performance(msgspec.Struct, frozen=True, kw_only=True):
    """Of one version, or of all (`version` "all"). Rates are fractions; None where `status` is insufficient_data.

    Attributes:
        labelled: predictions whose outcome has arrived; caught to false_positives count only these.
        degraded_share: of all predictions, those whose answer named a degradation.
    """

    version: str
    predictions: int
    labelled: int
    positives: int
    caught: int
    missed: int
    false_positives: int
    degraded_share: float | None
    status: Status
    reason: str
    catch_rate: float | None
    false_positive_rate: float | None
    pr_auc: float | None


def judged_predictions(lake: Lake, model: str, since: datetime | None = None, until: datetime | None = None) -> pl.DataFrame:
    """A model's predictions with since <= world_time < until, one per request (the latest answer), `label` null until known.

    Columns: request_id, version, score, flagged, is_degraded, label.
    """
    predictions = (
        lake.scan(Stream.PREDICTIONS, since, until)
        .filter(pl.col("model") == model)
        .select(
            "request_id",
            "version",
            "score",
            "flagged",
            "wall_time",
            (pl.col("degraded").list.len() > 0).alias("is_degraded"),
        )
    )
    # Of every time: a prediction has the gateway's clock, an outcome its payment's, which may be behind `since`.
    return with_outcomes(predictions, outcomes_of(lake, model), how="left").drop("wall_time").collect()


def labelled_predictions(
    lake: Lake, model: str, since: datetime, until: datetime, known_before: datetime, feature: str = ""
) -> pl.DataFrame:
    """A model's predictions with since <= world_time < until whose outcome arrived before `known_before`, one per request.

    Columns: version, score, flagged, label, entity_keys (JSON), and `group`: the value of `feature`, null where it is not in the vector.
    """
    position = pl.col("feature_names").list.eval((pl.element() == feature).cast(pl.Int8)).list.arg_max()
    has = pl.col("feature_names").list.contains(feature)
    predictions = (
        lake.scan(Stream.PREDICTIONS, since, until)
        .filter(pl.col("model") == model)
        .with_columns(pl.when(has).then(pl.col("features").list.get(position, null_on_oob=True)).alias("group"))
        .select("request_id", "version", "score", "flagged", "wall_time", "entity_keys", "group")
    )
    # A prediction has the gateway's clock, an outcome its payment's: a label can be a moment older than its prediction.
    outcomes = outcomes_of(lake, model, since - timedelta(days=1), known_before)
    return with_outcomes(predictions, outcomes, how="inner").drop("wall_time", "request_id").collect()


def outcomes_of(lake: Lake, model: str, since: datetime | None = None, until: datetime | None = None) -> pl.LazyFrame:
    """One model's outcomes that became known from `since` to before `until`, in the lake's columns."""
    return lake.scan(Stream.OUTCOMES, since, until).filter(pl.col("model") == model)


def delay_depends_on_label(delays: pl.Series, labels: pl.Series, median: timedelta) -> bool:
    """Whether labels of positives come within the median delay more or less often than others'.

    If they do, early labels are a biased sample, and only answers whose labels are complete may be judged.

    Args:
        delays: Of requests whose labels are complete, Duration, shape (rows,).
        labels: Of the same requests, 0 or 1.

    Source: the two-proportion z-test with a pooled share.
    """
    early, positive = (delays <= median).to_numpy(), labels.to_numpy() == 1
    n, m = int(positive.sum()), int((~positive).sum())
    if n == 0 or m == 0:
        return False
    pooled = early.mean()
    error = np.sqrt(max(pooled * (1 - pooled), 1e-9) * (1 / n + 1 / m))
    return bool(abs(early[positive].mean() - early[~positive].mean()) / error > DEPENDENT_BEYOND)


def with_outcomes(predictions: pl.LazyFrame, outcomes: pl.LazyFrame, how: Literal["inner", "left"]) -> pl.LazyFrame:
    """Add each prediction's `label`: the batch form of `dojo/core/outcome_join.py: OutcomeJoin`.

    Args:
        predictions: Columns request_id, wall_time and any others. Of one request's answers the latest counts.
        outcomes: Columns request_id and label, of the predictions' model.
        how: "left" keeps the predictions without an outcome, with a null label.
    """
    latest = predictions.sort("wall_time").unique("request_id", keep="last", maintain_order=True)
    labels = outcomes.select("request_id", "label").unique("request_id")
    return latest.join(labels, on="request_id", how=how)


def measure(judged: pl.DataFrame, version: str = "all") -> Performance:
    """Performance of the rows of `judged_predictions`."""
    labelled = judged.filter(pl.col("label").is_not_null())
    labels, scores = labelled["label"].to_numpy(), labelled["score"].to_numpy()
    flagged = labelled["flagged"].to_numpy()
    positives, legitimate = int((labels == 1).sum()), int((labels == 0).sum())
    caught, false_positives = int((flagged & (labels == 1)).sum()), int((flagged & (labels == 0)).sum())
    enough = positives >= MINIMUM_POSITIVES and legitimate >= MINIMUM_NEGATIVES
    return Performance(
        version=version,
        predictions=len(judged),
        labelled=len(labelled),
        positives=positives,
        caught=caught,
        missed=positives - caught,
        false_positives=false_positives,
        degraded_share=int(judged["is_degraded"].sum()) / len(judged) if len(judged) else None,
        status="measured" if enough else "insufficient_data",
        reason=""
        if enough
        else f"needs {MINIMUM_POSITIVES} labelled positives and {MINIMUM_NEGATIVES:,} negatives, has {positives:,} and {legitimate:,}",
        catch_rate=caught / positives if enough else None,
        false_positive_rate=false_positives / legitimate if enough else None,
        pr_auc=pr_auc(labels, scores) if enough else None,
    )


def measure_by_version(judged: pl.DataFrame) -> list[Performance]:
    """All versions together first, then each that answered, in order of their numbers; "0" is the spec's fallback."""
    versions = sorted(judged["version"].unique().to_list(), key=lambda v: (not v.isdigit(), int(v) if v.isdigit() else 0, v))
    return [measure(judged), *(measure(judged.filter(pl.col("version") == v), v) for v in versions)]


def judge_group(
    labels: npt.NDArray[np.integer],
    scores: npt.NDArray[np.floating],
    flagged: npt.NDArray[np.bool_],
    entities: Sequence[npt.NDArray[np.str_]] = (),
) -> Group:
    """What labelled answers turned out to be. Shapes (rows,).

    Args:
        entities: for each kind of entity the rows' keys. Frauds at one merchant or with one card are caught or missed together: the kind that
            they resemble each other by most decides what they are worth.
    """
    positive = labels == 1
    both = positive.any() and not positive.all()
    return Group(
        rows=len(labels),
        positives=int(positive.sum()),
        caught=int(flagged[positive].sum()),
        false_positives=int(flagged[~positive].sum()),
        effective_positives=_effective(flagged[positive], [keys[positive] for keys in entities]),
        effective_negatives=_effective(flagged[~positive], [keys[~positive] for keys in entities]),
        pr_auc=pr_auc(labels, scores) if both and int(positive.sum()) >= MINIMUM_POSITIVES else None,
    )


def score_histogram(scores: npt.NDArray[np.floating]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Rows, and sum of scores, by bin of SCORE_EDGES. scores: shape (rows,), in [0, 1]."""
    bins = np.searchsorted(np.asarray(SCORE_EDGES), scores, side="left")
    width = len(SCORE_EDGES) + 1
    counts = np.bincount(bins, minlength=width).astype(np.int64)
    return counts, np.bincount(bins, weights=scores, minlength=width).astype(np.float64)


def expected_pr_auc(
    counts: npt.NDArray[np.integer], sums: npt.NDArray[np.floating], calibration: Sequence[float] = ()
) -> float:
    """PR-AUC that scores promise: average precision when each row is positive with its bin's probability.

    Args:
        counts: As from `score_histogram`. A bin is one group of equal scores.
        sums: As from `score_histogram`.
        calibration: Probability per bin (`ReferenceProfile.calibration`). Without it a bin's mean score is its probability.

    Returns:
        In (0, 1], NaN without rows or where no positive is expected.

    Its limits are those of `dojo/stats/scores/expected_performance.py`: concept drift is invisible.
    """
    means = np.divide(sums, counts, out=np.zeros(len(counts)), where=np.asarray(counts) > 0)
    return expected_average_precision(counts, np.asarray(calibration) if calibration else means)


def _effective(hits: npt.NDArray[np.bool_], entities: Sequence[npt.NDArray[np.str_]]) -> float:
    """How many independent rows would know the rate of hits as well."""
    if not len(hits):
        return 0.0
    found = [float(len(hits))]
    for keys in entities:
        _, cluster = np.unique(keys, return_inverse=True)
        found.append(clustered_rate(np.bincount(cluster, weights=hits), np.bincount(cluster)).effective)
    return min(found)
