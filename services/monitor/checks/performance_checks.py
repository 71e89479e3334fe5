"""Checks of labelled answers: the version's live performance against what it showed on its own holdout. Pure but for `read`.

Judged once a day over the days before it, on whatever labels have arrived by then. That is no biased sample while positives and others are labelled
after the same delay, which is tested every day on complete labels. Where it fails, only answers with complete labels are judged, and the verdict says so.
It comes from the lake, where each event is once and joins are cheap, not from a join kept in the
monitor's memory: `dojo performance` and this check cannot disagree, and nothing has to survive a kill.

A finding is beyond its threshold and beyond chance: of the sample, of the holdout, and of positives coming in clusters (one merchant's are caught or
missed together, so hundreds of positives may be worth dozens).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from statistics import NormalDist

import numpy as np
import polars as pl

from dojo.core.events.types import Check
from dojo.core.judging.drift import Measured
from dojo.core.lake import Lake
from dojo.core.performance import MINIMUM_NEGATIVES, delay_depends_on_label, judge_group, labelled_predictions, outcomes_of
from dojo.core.registry.reference_profile import Group, ReferenceProfile
from dojo.core.spec.durations import format_duration
from dojo.core.spec.schema import ModelSpec
from dojo.stats.distances.psi_noise import per_feature_level
from dojo.stats.inference.proportions import Rate, newcombe_interval, wilson_interval


@dataclass(frozen=True)
class LabelledAnswers:
    """What a version's labelled answers turned out to be: all of them, and by segment."""

    all: Group
    segments: Mapping[str, Group]


def read(
    lake: Lake, spec: ModelSpec, profiles: Mapping[str, ReferenceProfile], end: datetime, known_by: datetime
) -> dict[str, LabelledAnswers]:
    """By version, the answers of the spec's performance window that ends at `end`, as far as labels had arrived by `known_by`.

    Args:
        profiles: of the versions that are wanted.

    Raises:
        OSError, polars.exceptions.PolarsError: the lake cannot be read.
    """
    rows = labelled_predictions(lake, spec.name, end - spec.drift.performance.window, end, known_by, spec.drift.segment)
    keys = [pl.col("entity_keys").str.json_path_match(f"$.{entity}").fill_null("") for entity in spec.entities]
    rows = rows.with_columns(key.alias(f"_key_{at}") for at, key in enumerate(keys))
    return {
        version: _labelled(rows.filter(pl.col("version") == version), profile, len(keys))
        for version, profile in profiles.items()
    }


def early_labels_are_biased(lake: Lake, spec: ModelSpec, end: datetime) -> bool:
    """Whether the delay depended on the label, in the newest `label.delay.maximum` of requests whose labels are complete."""
    complete = end - spec.label.delay.maximum
    asked = pl.col("request_time")
    labels = (
        outcomes_of(lake, spec.name, complete - spec.label.delay.maximum, end)
        .filter(asked >= complete - spec.label.delay.maximum, asked < complete)
        .select("label", delay=pl.col("world_time") - asked)
        .collect()
    )
    return delay_depends_on_label(labels["delay"], labels["label"], spec.label.delay.median)


def _labelled(rows: pl.DataFrame, profile: ReferenceProfile, kinds: int) -> LabelledAnswers:
    labels, scores, flagged = (rows[name].to_numpy() for name in ("label", "score", "flagged"))
    entities = [rows[f"_key_{at}"].to_numpy() for at in range(kinds)]

    def group(chosen: np.ndarray) -> Group:
        return judge_group(labels[chosen], scores[chosen], flagged[chosen], [keys[chosen] for keys in entities])

    segments = {}
    if profile.segmentation is not None:
        values = rows["group"].to_numpy().astype(np.float64)
        codes = np.where(np.isnan(values), -1, profile.segmentation.codes(values))
        segments = {name: group(codes == code) for code, name in enumerate(profile.segmentation.names)}
    return LabelledAnswers(group(np.ones(len(labels), dtype=bool)), segments)


def labelled_checks(
    live: LabelledAnswers, profile: ReferenceProfile, spec: ModelSpec, only_complete: bool
) -> dict[Check, dict[str, Measured]]:
    """What the two checks of labelled answers measured.

    Args:
        only_complete: The delay of labels depends on the label, so only answers older than its maximum are in `live`.
    """
    found: dict[Check, dict[str, Measured]] = {
        "performance": performance(live.all, profile, spec),
        "segments": segments(live.segments, profile, spec),
    }
    if not only_complete:
        return found
    said = f"only answers older than {format_duration(spec.label.delay.maximum)}: labels of positives and others come at different speeds"
    return {
        check: {name: replace(m, note=f"{m.note}; {said}".removeprefix("; ")) for name, m in measured.items()}
        for check, measured in found.items()
    }


def performance(live: Group, profile: ReferenceProfile, spec: ModelSpec) -> dict[str, Measured]:
    """Drop of the catch rate (absolute), false positives (times those allowed), drop of PR-AUC (relative)."""
    watch, level = spec.drift.performance, spec.drift.significance
    found = {}
    if profile.results is not None:
        found["catch_rate"] = _catch_rate("catch_rate", live, profile.results, spec, level)
    allowed = spec.serving.threshold_false_positive_rate
    rate, rows = live.false_positive_rate, live.rows - live.positives
    if rate is None or rows < MINIMUM_NEGATIVES:
        found["false_positives"] = Measured("false_positives", None, watch.false_positive_ratio, rows)
    else:
        reached = wilson_interval(allowed, max(live.effective_negatives, 1.0), 1 - level)[1]
        found["false_positives"] = Measured(
            "false_positives", rate / allowed, watch.false_positive_ratio, rows, reached / allowed,
            f"{rate:.2%} of {rows:,} negatives were flagged",
        )  # fmt: skip
    found["pr_auc"] = _pr_auc(live, profile, spec, level)
    return found


def segments(live: Mapping[str, Group], profile: ReferenceProfile, spec: ModelSpec) -> dict[str, Measured]:
    """Drop of the catch rate in each group of customers, against the same group of the holdout."""
    level = per_feature_level(spec.drift.significance, max(len(profile.segments), 1))
    return {
        name: _catch_rate(name, live[name], reference, spec, level)
        for name, reference in profile.segments.items()
        if name in live
    }


def _catch_rate(subject: str, live: Group, reference: Group, spec: ModelSpec, level: float) -> Measured:
    watch = spec.drift.performance
    before, now = reference.catch_rate, live.catch_rate
    if before is None or now is None or min(live.positives, reference.positives) < watch.minimum_positives:
        note = f"{live.positives} labelled positives, {watch.minimum_positives} are needed"
        if reference.positives < watch.minimum_positives:
            note = f"the holdout has {reference.positives} positives, {watch.minimum_positives} are needed"
        return Measured(subject, None, watch.catch_rate_drop, live.positives, note=note)
    drop = before - now
    low, _ = newcombe_interval(_rate(before, reference), _rate(now, live), 1 - level)
    note = f"caught {now:.0%} of {live.positives} positives ({live.effective_positives:.0f} independent), {before:.0%} in the holdout"
    return Measured(subject, max(0.0, drop), watch.catch_rate_drop, live.positives, drop - low, note)


def _rate(value: float, group: Group) -> Rate:
    return Rate(value, group.positives, 0, max(group.effective_positives, 1.0))


def _pr_auc(live: Group, profile: ReferenceProfile, spec: ModelSpec, level: float) -> Measured:
    """Source of the interval: Boyd, Eng and Page, Area under the Precision-Recall Curve: Point Estimates and Confidence Intervals (2013), binomial."""
    watch, reference = spec.drift.performance, profile.results
    if reference is None or reference.pr_auc is None or live.pr_auc is None or live.positives < watch.minimum_positives:
        return Measured("pr_auc", None, watch.pr_auc_drop, live.positives)
    before, now = reference.pr_auc, live.pr_auc
    variance = before * (1 - before) * (1 / max(reference.effective_positives, 1.0) + 1 / max(live.effective_positives, 1.0))
    noise = NormalDist().inv_cdf(1 - level / 2) * math.sqrt(variance) / before
    note = f"{now:.3f} on {live.positives} positives, {before:.3f} on the holdout"
    return Measured("pr_auc", max(0.0, 1 - now / before), watch.pr_auc_drop, live.positives, noise, note)
