"""Checks of labelled answers: the version's live performance against what it showed on its own holdout. Pure but for `read`.

Judged once a day over the days before it, on the labels that have arrived by then. They are a fair sample while labels of both kinds come
after the same delay, which is tested every day on complete labels. Where it fails, only answers with complete labels are judged, and the verdict says so.
It comes from the lake, where each event is once and joins are cheap, not from a join kept in the
monitor's memory: `dojo performance` and this check cannot disagree, and nothing has to survive a kill.

What is measured of them is the task's: `dojo/core/tasks`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import polars as pl

from dojo.core.events.types import Check
from dojo.core.lake import Lake
from dojo.core.performance import answered_rows, delay_depends_on_label, labelled_predictions, outcomes_of
from dojo.core.registry.reference_profile import ReferenceProfile
from dojo.core.spec.durations import format_duration
from dojo.core.spec.schema import ModelSpec
from dojo.core.tasks.measured import Measured
from dojo.core.tasks.records import Results
from dojo.core.tasks.specs import task_of
from dojo.stats.distances.psi_noise import per_feature_level


@dataclass(frozen=True)
class LabelledAnswers:
    """What a version's labelled answers turned out to be: all of them, and by segment."""

    all: Results
    segments: Mapping[str, Results]


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
        version: _labelled(rows.filter(pl.col("version") == version), profile, spec) for version, profile in profiles.items()
    }


def early_labels_are_biased(lake: Lake, spec: ModelSpec, end: datetime) -> bool:
    """Whether the delay depended on the label, in the newest `label.delay.maximum` of requests whose labels are complete."""
    complete = end - spec.label.delay.maximum
    asked = pl.col("request_time")
    labels = (
        outcomes_of(lake, spec.name, complete - spec.label.delay.maximum, end)
        .filter(asked >= complete - spec.label.delay.maximum, asked < complete)
        .select("label", delay=pl.col("first_known") - asked)
        .collect()
    )
    one_side = task_of(spec).split_labels(labels["label"].to_numpy())
    return delay_depends_on_label(labels["delay"], one_side, spec.label.delay.median)


def _labelled(rows: pl.DataFrame, profile: ReferenceProfile, spec: ModelSpec) -> LabelledAnswers:
    task = task_of(spec)
    answered = answered_rows(rows, {entity: rows[f"_key_{at}"].to_numpy() for at, entity in enumerate(spec.entities)})
    segments = {}
    if profile.segmentation is not None:
        values = rows["group"].to_numpy().astype(np.float64)
        codes = np.where(np.isnan(values), -1, profile.segmentation.codes(values))
        segments = {name: task.results(answered.of(codes == code)) for code, name in enumerate(profile.segmentation.names)}
    return LabelledAnswers(task.results(answered), segments)


def labelled_checks(
    live: LabelledAnswers, profile: ReferenceProfile, spec: ModelSpec, only_complete: bool
) -> dict[Check, dict[str, Measured]]:
    """What the two checks of labelled answers measured.

    Args:
        only_complete: The delay of labels depends on the label, so only answers older than its maximum are in `live`.
    """
    found: dict[Check, dict[str, Measured]] = {
        "performance": task_of(spec).performance(live.all, profile.results),
        "segments": segments(live.segments, profile, spec),
    }
    if not only_complete:
        return found
    said = f"only answers older than {format_duration(spec.label.delay.maximum)}: labels of different kinds come at different speeds"
    return {
        check: {name: replace(m, note=f"{m.note}; {said}".removeprefix("; ")) for name, m in measured.items()}
        for check, measured in found.items()
    }


def segments(live: Mapping[str, Results], profile: ReferenceProfile, spec: ModelSpec) -> dict[str, Measured]:
    """Loss of the task's headline in each group of rows, against the same group of the holdout."""
    level = per_feature_level(spec.drift.significance, max(len(profile.segments), 1))
    return {
        name: task_of(spec).segment(name, live[name], reference, level)
        for name, reference in profile.segments.items()
        if name in live
    }
