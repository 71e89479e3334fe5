"""The labelled answers that are judged, read from a real lake."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from dojo.core.events.columns import frame_of
from dojo.core.events.types import Outcome, Stream
from dojo.core.lake import Lake
from dojo.core.registry.reference_profile import ReferenceProfile
from dojo.core.tasks.binary.live import CATCH_RATE
from dojo.core.tasks.records import Results
from pipelines.training.reference import ReferenceHoldout, profile_of
from services.monitor.checks.performance_checks import (
    early_labels_are_biased,
    labelled_checks,
    read,
)
from tests.support.answers import task_world
from tests.support.monitor_events import START, Shop, profile, spec

SPEC, PROFILE = spec(), profile()
AMOUNTS = task_world("regression")
DAY = timedelta(days=1)
END = START + 20 * DAY


def lake_with(root: Path, positives_after: timedelta, others_after: timedelta) -> Lake:
    """Make 20 days of answers, with the labels that had arrived at the end."""
    lake, shop = Lake(root), Shop()
    answers = [
        answer for day in range(20) for answer in shop.predictions(START + DAY * day, 300, DAY)
    ]
    labels = [
        msgspec.structs.replace(
            o, world_time=o.request_time + (positives_after if o.label else others_after)
        )
        for o in shop.outcomes(answers)
    ]
    lake.write(Stream.PREDICTIONS, frame_of(Stream.PREDICTIONS, answers), "part")
    known: list[Outcome] = [label for label in labels if label.world_time < END]
    lake.write(Stream.OUTCOMES, frame_of(Stream.OUTCOMES, known), "part")
    return lake


def share_of_positives(found: Results) -> float:
    return found.figures[CATCH_RATE].rows / found.rows


def test_early_labels_are_judged_while_the_delay_does_not_depend_on_the_label(
    tmp_path: Path,
) -> None:
    lake = lake_with(tmp_path, DAY, DAY)
    assert not early_labels_are_biased(lake, SPEC, END)
    live = read(lake, SPEC, {"1": PROFILE}, END, END)["1"]
    assert live.all.rows == 2 * 300, "three days, whose last one has no labels yet"


def test_only_complete_labels_are_judged_when_positives_are_reported_sooner(tmp_path: Path) -> None:
    lake = lake_with(tmp_path, DAY / 4, 5 * DAY)
    assert early_labels_are_biased(lake, SPEC, END)
    live = read(lake, SPEC, {"1": PROFILE}, END - SPEC.label.delay.maximum, END)["1"]
    assert live.all.rows == 3 * 300, "three days that ended the longest delay ago"
    assert share_of_positives(live.all) == pytest.approx(
        share_of_positives(PROFILE.results), abs=0.03
    )
    found = labelled_checks(live, PROFILE, SPEC, only_complete=True)
    assert all(
        "only answers older than 7d" in measured.note
        for check in found.values()
        for measured in check.values()
    )


def test_corrections_are_no_late_labels(tmp_path: Path) -> None:
    """Positives that are found by correcting a label have come as soon as the others."""
    lake = lake_with(tmp_path, DAY, DAY)
    first = lake.scan(Stream.OUTCOMES).collect()
    mistaken = first.filter(pl.int_range(pl.len()) % 3 == 0)
    corrected = mistaken.with_columns(pl.col("world_time") + timedelta(days=4), label=1.0).filter(
        pl.col("world_time") < END
    )
    lake.write(Stream.OUTCOMES, corrected, "part-2")
    assert not early_labels_are_biased(lake, SPEC, END)


def test_hidden_labels_are_no_early_labels(tmp_path: Path) -> None:
    """Half of the labels are hidden at once, and the others come later than the median."""
    lake = lake_with(tmp_path, 2.5 * DAY, 2.5 * DAY)
    known = lake.scan(Stream.OUTCOMES).collect()
    half = pl.int_range(pl.len()) % 2 == 0
    hidden = known.with_columns(
        world_time=pl.when(half).then("request_time").otherwise("world_time"),
        label=pl.when(half).then(None).otherwise("label"),
        hidden_by=pl.when(half).then(pl.lit("declined")).otherwise(pl.lit("")),
    )
    shutil.rmtree(tmp_path / Stream.OUTCOMES)
    lake.write(Stream.OUTCOMES, hidden, "part")
    assert not early_labels_are_biased(lake, SPEC, END)
    live = read(lake, SPEC, {"1": PROFILE}, END, END)["1"]
    assert live.all.rows == pytest.approx(75, abs=10), "half of half a day"


@pytest.mark.parametrize(("further", "severity"), [(1.0, "ok"), (3.0, "critical")])
def test_labels_are_looked_for_in_the_interval_of_the_version_that_answered(
    tmp_path: Path, further: float, severity: str
) -> None:
    """The profile brings the version's interval from its training."""
    spec, holdout, live = AMOUNTS.spec, AMOUNTS.answered(), AMOUNTS.answered(900, labels=2)
    inputs = np.zeros((6000, 1), dtype=np.float32)
    made = profile_of(ReferenceHoldout(("constant",), inputs, holdout, {}), spec)
    made.write(tmp_path / "profile.json")
    known = ReferenceProfile.read(tmp_path / "profile.json").require_monitoring()
    answers, shop = Shop().predictions(END - DAY, 900, DAY), Shop()
    outcomes = [
        msgspec.structs.replace(
            outcome, model=spec.name, label=score + further * (label - score), world_time=END - DAY
        )
        for outcome, label, score in zip(
            shop.outcomes(answers), live.labels.tolist(), live.scores.tolist(), strict=True
        )
    ]
    answers = [
        msgspec.structs.replace(one, model=spec.name, score=score, flagged=None)
        for one, score in zip(answers, live.scores.tolist(), strict=True)
    ]
    lake = Lake(tmp_path)
    lake.write(Stream.PREDICTIONS, frame_of(Stream.PREDICTIONS, answers), "part")
    lake.write(Stream.OUTCOMES, frame_of(Stream.OUTCOMES, outcomes), "part")
    found = read(lake, spec, {"1": known}, END, END)["1"]
    coverage = labelled_checks(found, known, spec, only_complete=False)["performance"]["coverage"]
    assert (coverage.severity, coverage.rows) == (severity, 900)
