"""What a version's record says: metrics, threshold, reference profile, spec of record, figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dojo.core.judging.gate.decision import SHORT_NAMES
from dojo.core.registry.reference_profile import ReferenceProfile
from dojo.core.spec.load import load_spec
from dojo.core.spec.schema import PrimaryMetric
from dojo.core.tasks.binary import at_threshold, choose_threshold, evaluate
from pipelines.release.artefacts import dump_spec
from pipelines.release.plots import calibration_plot, importance_plot, precision_recall_plot
from pipelines.training.steps import parity_rows
from tests.support.profiles import reference_profile


@pytest.fixture
def scored() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(5)
    labels = (random.random(4000) < 0.03).astype(np.int8)
    return labels, 1 / (1 + np.exp(-(random.normal(size=4000) + 2.5 * labels - 3)))


def test_every_metric_a_spec_may_name_is_measured(scored: tuple[np.ndarray, np.ndarray]) -> None:
    assert set(PrimaryMetric.__args__) == set(SHORT_NAMES) <= set(evaluate(*scored))  # type: ignore[attr-defined]


def test_the_threshold_keeps_the_false_positive_rate_it_was_chosen_for(scored: tuple[np.ndarray, np.ndarray]) -> None:
    labels, scores = scored
    found = at_threshold(labels, scores, choose_threshold(labels, scores, 0.01))
    assert 0.005 < found["false_positive_rate_at_threshold"] <= 0.01
    assert found["recall_at_threshold"] > 0.2


def test_the_reference_profile_counts_every_row_and_survives_its_file(tmp_path: Path) -> None:
    random = np.random.default_rng(6)
    inputs = np.column_stack([random.lognormal(size=5000), random.random(5000) < 0.2, np.zeros(5000)]).astype(np.float32)
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
    inputs, scores = np.arange(2000, dtype=np.float32).reshape(1000, 2), np.random.default_rng(7).random(1000)
    parity = parity_rows(inputs, scores)
    assert len(parity.scores) == 256
    assert parity.scores == sorted(parity.scores)
    assert (parity.scores[0], parity.scores[-1]) == (scores.min(), scores.max())
    assert parity.inputs[-1] == inputs[scores.argmax()].tolist()


def test_the_spec_of_record_reads_back_as_the_same_spec(tmp_path: Path) -> None:
    spec = load_spec(Path("models/fraud_detection.yaml"))
    (tmp_path / "fraud_detection.yaml").write_text(dump_spec(spec))
    assert load_spec(tmp_path / "fraud_detection.yaml") == spec


def test_figures_are_drawn(scored: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    precision_recall_plot(*scored, threshold=0.3, title="precision and recall", target=tmp_path / "pr.png")
    calibration_plot(*scored, title="calibration", target=tmp_path / "calibration.png")
    importance_plot({f"feature_{i}": float(i) for i in range(30)}, "importance", tmp_path / "importance.png")
    for name in ("pr", "calibration", "importance"):
        with Image.open(tmp_path / f"{name}.png") as figure:
            assert min(figure.size) > 400
            assert len(figure.convert("L").getcolors(maxcolors=256)) > 20  # not an empty canvas
