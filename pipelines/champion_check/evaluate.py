"""Tests if the champion is still as good as on its own holdout.

It is judged on the freshest requests with labels.

*Requests.* All labels are there only after label.delay.maximum (7 d). A window with complete labels
would show a sudden change a week late. Half of the labels arrive within two days. If the delay does
not depend on the label, the labelled young requests are an unbiased sample, and are used. This
assumption is tested on the requests with complete labels. Did labels of one side and the others
arrive within the median delay equally often? If not, only requests with complete labels are judged,
and the answer says so. A typical cause is that reports come early, and silence counts only at the
end.

*Begin.* If the order names the trouble's beginning (`since`), the requests start there. Earlier
requests would make the loss look smaller. Otherwise the span is the shortest with enough support.
It never includes requests on which the champion was fitted, and is never longer than a holdout.

*Comparison.* The task compares the primary metric with the holdout's, at the holdout's mix of
labels (`Task.loss`). `degraded` means a relative loss of at least spec.response.degraded, beyond
chance. Beyond chance, the lower end of its bootstrap interval is above zero (whole entities are
drawn). Such a loss within chance is `insufficient_data`, and so is too little support. It means
neither good nor bad.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from dojo.core.labels import WEIGHT, weights_of
from dojo.core.lake import Lake, midnight
from dojo.core.performance import delay_depends_on_label, outcomes_of
from dojo.core.registry.bundle import load_bundle
from dojo.core.registry.versions import CHAMPION, ModelRegistry, Version
from dojo.core.spec.schema import ModelSpec
from dojo.core.tasks.records import Answered
from dojo.core.tasks.specs import task_of
from feature_repo.catalog import recorded_requests
from pipelines.features.materialize import scan_streams
from pipelines.gate.champion import seen_until
from pipelines.gate.decide import inputs_of
from pipelines.release.mlflow_run import ROWS, SUPPORT
from pipelines.release.tracking import tracking_client, tracking_errors
from pipelines.training.dataset.build import join_features, label_examples
from pipelines.training.dataset.collect import WARM_UP
from pipelines.training.dataset.split import entities_of
from pipelines.training.errors import RefusedError

ChampionVerdict = Literal["ok", "degraded", "insufficient_data"]

# Wanted support (`Task.support`) of a span without a given beginning. With this number of
# positives, the interval of the PR-AUC is about +-15 %.
WANTED_SUPPORT = 200


class NothingToEvaluateError(RefusedError):
    """There is no champion, or its run has no record of its holdout."""


class Freshest(msgspec.Struct, frozen=True, kw_only=True):
    """The champion on the freshest labelled requests.

    Attributes:
        verdict: The result.
        reason: The verdict in words.
        version: The judged champion.
        start: World time of the first request, included.
        end: World time of the last request, excluded.
        rows: Number of labelled requests.
        support: Their `Task.support`.
        labelled_share: Share of the span's requests with a label, 0 to 1.
        only_complete: True if the delay depends on the label. Then only requests older than the
            maximum delay were judged.
        metric: Name of the gate's primary metric.
        promised: The metric on the holdout.
        measured: The metric on the labelled requests. None without enough support.
        comparable: The metric at the holdout's mix of labels. None without enough support.
        relative_loss: Loss of `comparable` relative to `promised`. None without enough support.
        low: Lower end of the loss's interval. None without enough support.
        high: Upper end of the loss's interval. None without enough support.
    """

    verdict: ChampionVerdict
    reason: str
    version: str
    start: datetime
    end: datetime
    rows: int
    support: int
    labelled_share: float
    only_complete: bool
    metric: str
    promised: float
    measured: float | None = None
    comparable: float | None = None
    relative_loss: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def degraded(self) -> bool:
        return self.verdict == "degraded"


def evaluate_champion(
    spec: ModelSpec,
    lake: Lake,
    registry: ModelRegistry,
    as_of: datetime,
    since: datetime | None,
    workspace: Path,
) -> Freshest:
    """Judge the champion as of world time `as_of`.

    Args:
        spec: The model's spec.
        lake: The lake with requests and outcomes.
        registry: The model registry.
        as_of: World time up to which labels are known.
        since: World time at which the trouble began. None for the freshest requests.
        workspace: Directory for features and the champion's bundle.

    Raises:
        NothingToEvaluateError: A refusal.
        CorruptBundleError: The champion does not load.
        RegistryUnavailableError, OSError: Repeat it.
    """
    champion = registry.by_alias(spec.name, CHAMPION)
    if champion is None:
        raise NothingToEvaluateError(
            f"{spec.name}: no version is champion, so none is evaluated: dojo routes show"
            f" {spec.name}"
        )
    task, metric = task_of(spec), spec.gate.primary_metric
    promised = promise_of(champion, registry, metric)
    earliest = max(filter(None, (as_of - spec.training.holdout, seen_until(champion, registry))))
    requests = labelled_requests(lake, spec, earliest - spec.label.delay.maximum, as_of)
    complete = requests.filter(pl.col("world_time") < as_of - spec.label.delay.maximum).drop_nulls(
        "label"
    )
    only_complete = delay_depends_on_label(
        complete["arrived"],
        task.split_labels(complete["label"].to_numpy()),
        spec.label.delay.median,
    )
    end = min(as_of, as_of - spec.label.delay.maximum) if only_complete else as_of
    start = start_of(requests, max(earliest, since) if since else None, earliest, end, spec)
    span = requests.filter(pl.col("world_time").is_between(start, end, closed="left"))
    labelled = span.drop_nulls("label")
    found = Freshest(
        verdict="insufficient_data", reason="", version=champion.version, start=start, end=end,
        rows=len(labelled), support=task.support(rows_of(labelled, spec)),
        labelled_share=len(labelled) / len(span) if len(span) else 0.0,
        only_complete=only_complete, metric=metric, promised=promised[metric],
    )  # fmt: skip
    if few := task.too_few_live(found.support, found.rows):
        reason = f"{few}, among {found.rows:,} labelled requests since {start:%Y-%m-%d %H:%M}"
        return msgspec.structs.replace(found, reason=reason)
    rows = with_features(spec, lake, labelled, start, end, as_of, workspace)
    with TemporaryDirectory(dir=workspace) as directory:
        bundle, scorer = load_bundle(
            registry.download(champion, Path(directory)), registry.sealed_sha256(champion)
        )
        scores = scorer.score(inputs_of(rows, bundle)).astype(np.float64)
    return judged(found, spec, rows, scores, promised)


def promise_of(version: Version, registry: ModelRegistry, metric: str) -> Mapping[str, float]:
    """Return the holdout metrics recorded by a version's run. Raises NothingToEvaluateError."""
    with tracking_errors(version.model, f"run {version.run_id}"):
        metrics = tracking_client(registry).get_run(version.run_id).data.metrics
    if missing := {metric, f"{SUPPORT}holdout", f"{ROWS}holdout"} - set(metrics):
        raise NothingToEvaluateError(
            f"{version.model}: version {version.version} has no record of its holdout (no"
            f" {', '.join(sorted(missing))}): nothing to compare with"
        )
    found: Mapping[str, float] = metrics
    return found


def labelled_requests(
    lake: Lake, spec: ModelSpec, start: datetime, as_of: datetime
) -> pl.DataFrame:
    """Return the requests with start <= world_time < as_of.

    `label`, and its delay `arrived`, are null when the label had not arrived by `as_of`. A label
    that will never be known is null too.
    """
    recorded = recorded_requests(spec.feature_service)
    requests = (
        lake.scan(recorded.stream, start, as_of)
        .select(recorded.columns)
        .unique(recorded.key, keep="any")
    )
    outcomes = outcomes_of(lake, spec.name, start, as_of)
    known = outcomes.select(
        pl.col("request_id").alias(recorded.key), "label", weight=WEIGHT, known="first_known"
    )
    joined = requests.join(known, on=recorded.key, how="left")
    return (
        joined.with_columns(arrived=pl.col("known") - pl.col("world_time"))
        .sort("world_time", recorded.key)
        .collect()
    )


def start_of(
    requests: pl.DataFrame,
    since: datetime | None,
    earliest: datetime,
    end: datetime,
    spec: ModelSpec,
) -> datetime:
    """Return the world time from which requests are judged.

    It is `since`. Without it, go back by whole days until WANTED_SUPPORT is reached, to `earliest`
    at most.
    """
    if since is not None:
        return since
    task, known = task_of(spec), requests.filter(pl.col("world_time") < end).drop_nulls("label")
    start = midnight(end)
    while (
        start > earliest
        and task.support(rows_of(known.filter(pl.col("world_time") >= start), spec))
        < WANTED_SUPPORT
    ):
        start -= timedelta(days=1)
    return max(start, earliest)


def rows_of(
    requests: pl.DataFrame, spec: ModelSpec, scores: npt.NDArray[np.float64] | None = None
) -> Answered:
    """Return labelled requests as the task wants them.

    Without scores, the labels replace them. Support does not depend on scores.
    """
    labels = requests["label"].to_numpy().astype(np.float64)
    return Answered(
        labels, labels if scores is None else scores, None, entities_of(requests, spec),
        requests["world_time" if "world_time" in requests.columns else "event_timestamp"]
        .dt.replace_time_zone(None).to_numpy(),
        weights_of(requests),
    )  # fmt: skip


def with_features(
    spec: ModelSpec,
    lake: Lake,
    labelled: pl.DataFrame,
    start: datetime,
    end: datetime,
    as_of: datetime,
    workspace: Path,
) -> pl.DataFrame:
    """Add point-in-time features to the labelled requests, as training does."""
    service = spec.feature_service
    streams = {
        stream: rows.collect()
        for stream, rows in scan_streams(lake, start - WARM_UP, as_of).items()
    }
    labels = labelled.select(
        pl.col(recorded_requests(service).key).alias("request_id"), "label", "weight"
    )
    examples = label_examples(labelled.drop("label", "weight"), labels, service, start, end)
    return join_features(streams, examples, service, workspace)


def judged(
    found: Freshest,
    spec: ModelSpec,
    rows: pl.DataFrame,
    scores: npt.NDArray[np.float64],
    promised: Mapping[str, float],
) -> Freshest:
    """Add the figures and the verdict to `found`.

    Args:
        found: The champion's record without figures.
        spec: The model's spec.
        rows: Requests with `label` and the entities' keys.
        scores: The champion's scores, shape (rows,).
        promised: The metrics of its holdout.
    """
    task = task_of(spec)
    loss = task.loss(rows_of(rows, spec, scores), promised)
    change = (
        f"{'lost' if loss.value >= 0 else 'gained'} {abs(loss.value):.1%} ({loss.low:+.1%} to"
        f" {loss.high:+.1%})"
    )
    limit = f"degraded from {spec.response.degraded:.0%} on, beyond chance"
    metric = task.metrics[found.metric].short
    return msgspec.structs.replace(
        found,
        verdict=verdict_of(loss.value, loss.low, spec.response.degraded),
        reason=(
            f"{metric} {loss.comparable:.3f} against {loss.promised:.3f} on its holdout: {change};"
            f" {limit}"
        ),
        measured=loss.measured,
        comparable=loss.comparable,
        relative_loss=loss.value,
        low=loss.low,
        high=loss.high,
    )


def verdict_of(loss: float, low: float, allowed: float) -> ChampionVerdict:
    """Return the verdict on a relative loss with the lower end of its interval.

    A large loss within chance is `insufficient_data`, not `ok`.
    """
    if loss < allowed:
        return "ok"
    return "degraded" if low > 0 else "insufficient_data"
