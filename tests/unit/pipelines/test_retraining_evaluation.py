"""A version's record: metrics, threshold, reference profile, recorded spec, figures."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from dojo.core.registry.reference_profile import ReferenceProfile
from dojo.core.tasks.records import Answered
from dojo.core.tasks.specs import TASKS, load_spec, task_of
from pipelines.release.artefacts import dump_spec
from pipelines.release.plots import curve_plot, importance_plot
from pipelines.training.steps import parity_rows
from tests.support.profiles import reference_profile

SPEC = load_spec(Path("models/fraud_detection.yaml"))
TASK = task_of(SPEC)


@pytest.fixture
def scored() -> Answered:
    random = np.random.default_rng(5)
    labels = (random.random(4000) < 0.03).astype(np.int8)
    scores = 1 / (1 + np.exp(-(random.normal(size=4000) + 2.5 * labels - 3)))
    return Answered(labels.astype(np.float64), scores, scores >= 0.3)


@pytest.mark.parametrize("name", TASKS)
def test_every_metric_a_spec_may_name_has_a_short_name(name: str) -> None:
    spec, task = TASKS[name]
    gate = spec.model_fields["gate"].annotation
    assert gate is not None
    named = get_args(gate.model_fields["primary_metric"].annotation)
    assert set(named) == {metric for metric, of in task.metrics.items() if of.short}


def test_every_metric_of_the_task_is_measured(scored: Answered) -> None:
    assert list(TASK.evaluate(scored)) == list(TASK.metrics)


def test_the_threshold_keeps_the_false_positive_rate_it_was_chosen_for(scored: Answered) -> None:
    decision = TASK.decide(scored)
    found = TASK.evaluate(
        scored.scored(scored.scores, TASK.flagged(scored.scores, decision), decision)
    )
    assert SPEC.serving.threshold_false_positive_rate == 0.01
    assert 0.005 < found["false_positive_rate_at_threshold"] <= 0.01
    assert found["recall_at_threshold"] > 0.2


def test_the_reference_profile_counts_every_row_and_survives_its_file(tmp_path: Path) -> None:
    random = np.random.default_rng(6)
    inputs = np.column_stack(
        [random.lognormal(size=5000), random.random(5000) < 0.2, np.zeros(5000)]
    ).astype(np.float32)
    profile = reference_profile(("amount", "is_night", "constant"), inputs, random.random(5000))
    assert profile.rows == 5000
    assert list(profile.features) == ["amount", "is_night", "constant"]
    for column in (*profile.features.values(), profile.score):
        assert sum(column.counts) == 5000
        assert len(column.counts) == len(column.edges) + 1
    assert profile.features["amount"].counts == (500,) * 10
    assert profile.features["is_night"].edges == (0.0,)
    profile.write(tmp_path / "profile.json")
    assert ReferenceProfile.read(tmp_path / "profile.json") == profile


def test_parity_rows_reach_from_the_lowest_to_the_highest_score() -> None:
    inputs, scores = (
        np.arange(2000, dtype=np.float32).reshape(1000, 2),
        np.random.default_rng(7).random(1000),
    )
    parity = parity_rows(inputs, scores)
    assert len(parity.scores) == 256
    assert parity.scores == sorted(parity.scores)
    assert (parity.scores[0], parity.scores[-1]) == (scores.min(), scores.max())
    assert parity.inputs[-1] == inputs[scores.argmax()].tolist()


def test_the_spec_of_record_reads_back_as_the_same_spec(tmp_path: Path) -> None:
    (tmp_path / "fraud_detection.yaml").write_text(dump_spec(SPEC))
    assert load_spec(tmp_path / "fraud_detection.yaml") == SPEC


def test_the_operating_point_is_what_is_flagged(scored: Answered) -> None:
    precision_recall, _ = TASK.curves(scored, "model")
    assert scored.flagged is not None
    caught = scored.labels[scored.flagged]
    assert precision_recall.mark == (
        f"threshold {scored.scores[scored.flagged].min():.3f}",
        caught.sum() / scored.labels.sum(),
        caught.mean(),
    )
    _, recall, precision = precision_recall.mark
    assert (recall, precision) in set(zip(precision_recall.x, precision_recall.y, strict=True))


def test_figures_are_drawn(scored: Answered, tmp_path: Path) -> None:
    for curve in TASK.curves(scored, "model"):
        curve_plot([curve], curve.title, tmp_path / f"{curve.name}.png")
    importance_plot(
        {f"feature_{i}": float(i) for i in range(30)}, "importance", tmp_path / "importance.png"
    )
    for name in ("precision_recall", "calibration", "importance"):
        with Image.open(tmp_path / f"{name}.png") as figure:
            assert min(figure.size) > 400
            assert len(figure.convert("L").getcolors(maxcolors=256)) > 20  # not an empty canvas
