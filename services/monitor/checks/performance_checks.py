"""Checks of labelled answers: the version's live performance against its own holdout.

Pure, except for `read`. A finished day is judged once, over the window that ends with it, on the
labels known by then. They are a fair sample while both kinds of labels have the same delay. A test
on complete labels checks this every day. If the test fails, only answers with complete labels are
judged, and the verdict says so.

The data come from the lake, where each event is once and joins are cheap. The monitor keeps no join
in memory. So `dojo performance` and this check cannot disagree, and a kill loses nothing.

The task defines the measures (`dojo/core/tasks`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import polars as pl

from dojo.core.events.types import Check
from dojo.core.lake import Lake
from dojo.core.performance import (
    answered_rows,
    delay_depends_on_label,
    labelled_predictions,
    outcomes_of,
)
from dojo.core.registry.reference_profile import ReferenceProfile
from dojo.core.spec.durations import format_duration
from dojo.core.spec.schema import ModelSpec
from dojo.core.tasks.measured import Measured
from dojo.core.tasks.records import Results
from dojo.core.tasks.specs import task_of
from dojo.stats.distances.psi_noise import per_feature_level


@dataclass(frozen=True)
class LabelledAnswers:
    """The results of a version's labelled answers, in total and by segment."""

    all: Results
    segments: Mapping[str, Results]


def read(
    lake: Lake,
    spec: ModelSpec,
    profiles: Mapping[str, ReferenceProfile],
    end: datetime,
    known_by: datetime,
) -> dict[str, LabelledAnswers]:
    """Return labelled answers by version, for the spec's performance window before `end`.

    Args:
        profiles: Profiles of the wanted versions.
        known_by: Only labels that had arrived by this time count.

    Raises:
        OSError: The lake cannot be read.
        polars.exceptions.PolarsError: The lake cannot be read.
    """
    rows = labelled_predictions(
        lake, spec.name, end - spec.drift.performance.window, end, known_by, spec.drift.segment
    )
    return {
        version: _labelled(rows.filter(pl.col("version") == version), profile, spec)
        for version, profile in profiles.items()
    }


def early_labels_are_biased(lake: Lake, spec: ModelSpec, end: datetime) -> bool:
    """Whether the delay depended on the label.

    Tested on requests with complete labels, the newest `label.delay.maximum` of them.
    """
    complete = end - spec.label.delay.maximum
    asked = pl.col("request_time")
    labels = (
        outcomes_of(lake, spec.name, complete - spec.label.delay.maximum, end)
        .filter(asked >= complete - spec.label.delay.maximum, asked < complete)
        .select("label", delay=pl.col("first_known") - asked)
        .drop_nulls("label")
        .collect()
    )
    one_side = task_of(spec).split_labels(labels["label"].to_numpy())
    return delay_depends_on_label(labels["delay"], one_side, spec.label.delay.median)


def _labelled(rows: pl.DataFrame, profile: ReferenceProfile, spec: ModelSpec) -> LabelledAnswers:
    task = task_of(spec)
    answered = answered_rows(rows, spec.entities, profile.decision)
    segments = {}
    if profile.segmentation is not None:
        values = rows["group"].to_numpy().astype(np.float64)
        codes = np.where(np.isnan(values), -1, profile.segmentation.codes(values))
        segments = {
            name: task.results(answered.of(codes == code))
            for code, name in enumerate(profile.segmentation.names)
        }
    return LabelledAnswers(task.results(answered), segments)


def labelled_checks(
    live: LabelledAnswers, profile: ReferenceProfile, spec: ModelSpec, only_complete: bool
) -> dict[Check, dict[str, Measured]]:
    """Return the measurements of the two checks of labelled answers.

    Args:
        only_complete: True if the delay depends on the label. `live` then holds only answers older
            than the maximum delay.
    """
    found: dict[Check, dict[str, Measured]] = {
        "performance": task_of(spec).performance(live.all, profile.results),
        "segments": segments(live.segments, profile, spec),
    }
    if not only_complete:
        return found
    said = (
        f"only answers older than {format_duration(spec.label.delay.maximum)}: labels of different"
        " kinds come at different speeds"
    )
    return {
        check: {
            name: replace(m, note=f"{m.note}; {said}".removeprefix("; "))
            for name, m in measured.items()
        }
        for check, measured in found.items()
    }


def segments(
    live: Mapping[str, Results], profile: ReferenceProfile, spec: ModelSpec
) -> dict[str, Measured]:
    """Return the loss of the task's headline per segment, against the holdout's same segment."""
    level = per_feature_level(spec.drift.significance, max(len(profile.segments), 1))
    return {
        name: task_of(spec).segment(name, live[name], reference, level)
        for name, reference in profile.segments.items()
        if name in live
    }
