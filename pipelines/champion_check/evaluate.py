"""Is the champion still as good as on its own holdout? Judged on the freshest requests whose labels have arrived.

*Which requests.* Labels are complete only after label.delay.maximum (7 d); a window of complete ones would show a sudden change a week late. Half
of the labels are there after two days, and which requests they belong to is chance as long as the delay does not depend on what the label
says: then the labelled part of young requests is a sample of them without bias, and is used. Whether it does is not believed but tested,
on the requests whose labels are complete: had positives and the rest arrived within the median delay equally often? Where they had not
(chargebacks come early, silence comes last), only complete requests are judged, and the answer says so.

*From when.* From the trouble's beginning where the order names it (`since`): requests from before it would water the loss down. Without it, the
shortest span that holds enough positives. Never what the champion was fitted on, never longer than a holdout.

*Compared with what.* PR-AUC moves with the share of positives, which a week may change without any fault of the model. The requests are therefore
weighted so that positives have the share that they had in the holdout. Degraded is a relative loss of at least spec.response.degraded that lies
beyond chance: the lower end of its bootstrap interval (whole customers and merchants) is above zero. Such a loss within chance is
insufficient_data, as are too few positives: neither good nor bad.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from dojo.core.lake import Lake, midnight
from dojo.core.performance import delay_depends_on_label, outcomes_of
from dojo.core.registry.bundle import load_bundle
from dojo.core.registry.versions import CHAMPION, ModelRegistry, Version
from dojo.core.spec.load import ModelSpec
from dojo.stats.inference.bootstrap import cluster_weights, rank
from feature_repo.catalog import ENTITY_KEYS, recorded_requests
from pipelines.features.materialize import scan_streams
from pipelines.gate.champion import seen_until
from pipelines.gate.decide import inputs_of
from pipelines.release.tracking import tracking_client, tracking_errors
from pipelines.training.dataset.build import join_features, label_examples
from pipelines.training.dataset.collect import WARM_UP
from pipelines.training.errors import RefusedError

ChampionVerdict = Literal["ok", "degraded", "insufficient_data"]

# Frauds that a span without a given beginning is widened to: an interval of about +-15 % of the PR-AUC.
WANTED_POSITIVES = 200


class NothingToEvaluateError(RefusedError):
    """There is no champion, or nothing says what it showed on its holdout."""


class Freshest(msgspec.Struct, frozen=True, kw_only=True):
    """The champion on the freshest labelled requests.

    Attributes:
        version: the champion that was judged. start, end: of the requests, world time. rows, positives: labelled ones among them.
        labelled_share: of all requests of the span, those whose label has arrived.
        only_complete: the delay depends on the label, so only requests older than its maximum were judged.
        pr_auc: as it is. comparable_pr_auc: with the holdout's share of positives. holdout_pr_auc: what it showed there.
        relative_loss: 1 - comparable_pr_auc / holdout_pr_auc; low, high: ends of its interval. None without enough positives.
        reason: the verdict in words.
    """

    verdict: ChampionVerdict
    reason: str
    version: str
    start: datetime
    end: datetime
    rows: int
    positives: int
    labelled_share: float
    only_complete: bool
    holdout_pr_auc: float
    pr_auc: float | None = None
    comparable_pr_auc: float | None = None
    relative_loss: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def degraded(self) -> bool:
        return self.verdict == "degraded"


class Promised(msgspec.Struct, frozen=True):
    """What a version showed on its own holdout. `positive_share`: there, a fraction."""

    pr_auc: float
    positive_share: float


def evaluate_champion(
    spec: ModelSpec, lake: Lake, registry: ModelRegistry, as_of: datetime, since: datetime | None, workspace: Path
) -> Freshest:
    """Judge the champion as of world time `as_of`.

    Args:
        since: when the trouble began that is asked about; None for whatever is freshest.

    Raises:
        NothingToEvaluateError: a refusal. CorruptBundleError: the champion does not load.
        RegistryUnavailableError, OSError: repeat it.
    """
    champion = registry.by_alias(spec.name, CHAMPION)
    if champion is None:
        raise NothingToEvaluateError(f"{spec.name}: there is no champion to evaluate")
    promised = promise_of(champion, registry)
    earliest = max(filter(None, (as_of - spec.training.holdout, seen_until(champion, registry))))
    requests = labelled_requests(lake, spec, earliest - spec.label.delay.maximum, as_of)
    complete = requests.filter(pl.col("world_time") < as_of - spec.label.delay.maximum).drop_nulls("label")
    only_complete = delay_depends_on_label(complete["arrived"], complete["label"], spec.label.delay.median)
    end = min(as_of, as_of - spec.label.delay.maximum) if only_complete else as_of
    start = start_of(requests, max(earliest, since) if since else None, earliest, end)
    span = requests.filter(pl.col("world_time").is_between(start, end, closed="left"))
    labelled = span.drop_nulls("label")
    found = Freshest(
        verdict="insufficient_data", reason="", version=champion.version, start=start, end=end, rows=len(labelled),
        positives=int(labelled["label"].sum()), labelled_share=len(labelled) / len(span) if len(span) else 0.0,
        only_complete=only_complete, holdout_pr_auc=promised.pr_auc,
    )  # fmt: skip
    needed = spec.drift.performance.minimum_positives
    if found.positives < needed or found.positives == found.rows:
        reason = f"{found.positives} labelled positives among {found.rows:,} labelled requests since {start:%Y-%m-%d %H:%M}, {needed} are needed"
        return msgspec.structs.replace(found, reason=reason)
    rows = with_features(spec, lake, labelled, start, end, as_of, workspace)
    with TemporaryDirectory(dir=workspace) as directory:
        bundle, scorer = load_bundle(registry.download(champion, Path(directory)), champion.tags.bundle_sha256)
        scores = scorer.score(inputs_of(rows, bundle)).astype(np.float64)
    return judged(found, spec, rows, scores, promised)


def promise_of(version: Version, registry: ModelRegistry) -> Promised:
    """What a version's run recorded of its holdout. Raises NothingToEvaluateError."""
    with tracking_errors(version.model, f"run {version.run_id}"):
        metrics = tracking_client(registry).get_run(version.run_id).data.metrics
    try:
        return Promised(metrics["pr_auc"], metrics["positives_holdout"] / metrics["rows_holdout"])
    except (KeyError, ZeroDivisionError) as error:
        raise NothingToEvaluateError(
            f"{version.model}: version {version.version} has no record of its holdout ({error!r}): nothing to compare with"
        ) from error


def labelled_requests(lake: Lake, spec: ModelSpec, start: datetime, as_of: datetime) -> pl.DataFrame:
    """Requests with start <= world_time < as_of; `label` and `arrived` (its delay) null where the label had not come by `as_of`."""
    recorded = recorded_requests(spec.feature_service)
    requests = lake.scan(recorded.stream, start, as_of).select(recorded.columns).unique(recorded.key, keep="any")
    outcomes = outcomes_of(lake, spec.name, start, as_of).unique("request_id", keep="any")
    known = outcomes.select(pl.col("request_id").alias(recorded.key), "label", known="world_time")
    joined = requests.join(known, on=recorded.key, how="left")
    return joined.with_columns(arrived=pl.col("known") - pl.col("world_time")).sort("world_time", recorded.key).collect()


def start_of(requests: pl.DataFrame, since: datetime | None, earliest: datetime, end: datetime) -> datetime:
    """From when on requests are judged: `since`, or whole days back until WANTED_POSITIVES labelled positives are in, not before `earliest`."""
    if since is not None:
        return since
    positives = requests.filter((pl.col("label") == 1) & (pl.col("world_time") < end))["world_time"]
    start = midnight(end)
    while start > earliest and int((positives >= start).sum()) < WANTED_POSITIVES:
        start -= timedelta(days=1)
    return max(start, earliest)


def with_features(
    spec: ModelSpec, lake: Lake, labelled: pl.DataFrame, start: datetime, end: datetime, as_of: datetime, workspace: Path
) -> pl.DataFrame:
    """The labelled requests with the features that training gives them, point in time."""
    service = spec.feature_service
    streams = {stream: rows.collect() for stream, rows in scan_streams(lake, start - WARM_UP, as_of).items()}
    labels = labelled.select(pl.col(recorded_requests(service).key).alias("request_id"), "label")
    examples = label_examples(labelled.drop("label"), labels, service, start, end)
    return join_features(streams, examples, service, workspace)


def judged(
    found: Freshest, spec: ModelSpec, rows: pl.DataFrame, scores: npt.NDArray[np.float64], promised: Promised
) -> Freshest:
    """`found` with its figures and its verdict. rows: with `label` and entity keys; scores: shape (rows,)."""
    labels = rows["label"].to_numpy().astype(np.int8)
    ranking = rank(labels, scores)
    weights = weights_for(labels, promised.positive_share)
    clusters = [
        rows[key].rank("dense").to_numpy().astype(np.int64) for entity, key in ENTITY_KEYS.items() if entity in spec.entities
    ]

    def loss(drawn: npt.NDArray[np.floating]) -> float:
        return 1 - ranking.pr_auc(drawn) / promised.pr_auc

    value = loss(weights)
    draws = np.array(
        [loss(weights * copies) for copies in cluster_weights(clusters, spec.gate.bootstrap_draws, spec.training.seed)]
    )
    tail = (1 - spec.gate.confidence) / 2
    low, high = (float(np.nanquantile(draws, share)) for share in (tail, 1 - tail))
    comparable = promised.pr_auc * (1 - value)
    change = f"{'lost' if value >= 0 else 'gained'} {abs(value):.1%} ({low:+.1%} to {high:+.1%})"
    limit = f"degraded from {spec.response.degraded:.0%} on, beyond chance"
    return msgspec.structs.replace(
        found,
        verdict=verdict_of(value, low, spec.response.degraded),
        reason=f"PR-AUC {comparable:.3f} against {promised.pr_auc:.3f} on its holdout: {change}; {limit}",
        pr_auc=ranking.pr_auc(np.ones(len(labels))),
        comparable_pr_auc=comparable,
        relative_loss=value,
        low=low,
        high=high,
    )


def verdict_of(loss: float, low: float, allowed: float) -> ChampionVerdict:
    """Of a relative loss and the lower end of its interval. A large loss that may be chance is no "ok"."""
    if loss < allowed:
        return "ok"
    return "degraded" if low > 0 else "insufficient_data"


def weights_for(labels: npt.NDArray[np.int8], positive_share: float) -> npt.NDArray[np.float64]:
    """Weights, shape (rows,), under which positives have the share `positive_share`; legitimate requests keep 1."""
    positives, others = int(labels.sum()), int((labels == 0).sum())
    return np.where(labels == 1, positive_share / (1 - positive_share) * others / positives, 1.0)
