"""The estimate before labels reads scores through the holdout's calibration.

It is nearer to the later labels.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from dojo.core.registry.reference_profile import ReferenceProfile
from dojo.core.tasks.binary.estimate import expected_pr_auc
from dojo.core.tasks.binary.live import CATCH_RATE
from dojo.core.tasks.records import Answered
from dojo.core.tasks.score_bins import score_histogram
from dojo.core.tasks.specs import load_spec, task_of
from dojo.stats.scores.classification import pr_auc
from pipelines.training.dataset.split import Part
from pipelines.training.reference import ReferenceHoldout, profile_of
from pipelines.training.train import Trained, fit
from services.monitor.checks.input_checks import WindowComparison, proxy_check
from services.monitor.counting.windows import CountedWindow

SPEC = load_spec(Path("models/fraud_detection.yaml"))
START = datetime(2030, 1, 1, tzinfo=UTC)
NAMES = tuple("abcdefgh")
DAYS, PER_DAY = 14, 1500

Labelled = tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]


def payments(rows: int, seed: int) -> Labelled:
    """Make payments. Three in a hundred are fraud, and eight features tell a little about it."""
    random = np.random.default_rng(seed)
    inputs = random.normal(size=(rows, len(NAMES)))
    odds = inputs @ np.linspace(0.2, 1.1, len(NAMES)) - 5
    return inputs.astype(np.float32), (random.random(rows) < 1 / (1 + np.exp(-odds))).astype(
        np.float64
    )


@pytest.fixture(scope="module")
def model() -> Trained:
    """Fit the spec's estimator on few rows without a validation part. It is overconfident."""
    inputs, labels = payments(4000, seed=1)
    training = SPEC.training.model_copy(update={"seed": 1})
    part = Part("train", inputs, labels, {}, np.empty(0, dtype="datetime64[us]"))
    return fit(part, None, SPEC.model_copy(update={"training": training}))


@pytest.fixture(scope="module")
def profile(model: Trained) -> ReferenceProfile:
    inputs, labels = payments(DAYS * PER_DAY, seed=2)
    days = np.datetime64("2030-01-01", "us") + np.repeat(np.arange(DAYS), PER_DAY) * np.timedelta64(
        1, "D"
    )
    scores = model.score(inputs)
    answered = Answered(labels, scores, flagged=scores >= 0.5, times=days)
    return profile_of(
        ReferenceHoldout(names=NAMES, inputs=inputs, answered=answered, missing={}), SPEC
    )


def test_a_trained_models_estimate_is_nearer_to_the_truth_when_calibrated(
    model: Trained, profile: ReferenceProfile
) -> None:
    raw, calibrated = [], []
    for seed in range(10, 16):
        inputs, labels = payments(DAYS * PER_DAY, seed)
        scores = model.score(inputs)
        counts, sums = score_histogram(scores)
        truth = pr_auc(labels, scores)
        raw.append(abs(expected_pr_auc(counts, sums) - truth))
        calibrated.append(abs(expected_pr_auc(counts, sums, profile.calibration) - truth))
    assert np.mean(calibrated) < 0.03
    assert np.mean(raw) > 3 * np.mean(calibrated)


def test_the_check_reads_scores_through_the_profile(
    model: Trained, profile: ReferenceProfile
) -> None:
    """The day is like the holdout, so nothing is lost.

    Without calibration, its scores would promise far more.
    """
    window = CountedWindow()
    scores = model.score(payments(DAYS * PER_DAY, seed=20)[0])
    window.rows = len(scores)
    window.score_counts, window.score_sums = score_histogram(scores)
    comparison = WindowComparison(window, "day", START, profile, SPEC.drift)
    (measured,) = proxy_check(comparison, "estimated_performance", task_of(SPEC)).values()
    now = expected_pr_auc(window.score_counts, window.score_sums, profile.calibration)
    of_holdout = profile.proxies["expected_pr_auc"].mean
    assert measured.note.startswith(f"{now:.3f} expected from the scores, {of_holdout:.3f} ")
    assert measured.value == pytest.approx(max(0.0, 1 - now / of_holdout))
    assert expected_pr_auc(window.score_counts, window.score_sums) > now + 0.03


def test_the_calibration_rises_with_the_score_and_holds_the_holdouts_positives(
    model: Trained, profile: ReferenceProfile
) -> None:
    rates = np.asarray(profile.calibration)
    assert (np.diff(rates) >= 0).all()
    inputs, labels = payments(DAYS * PER_DAY, seed=2)  # the holdout's rows
    counts, _ = score_histogram(model.score(inputs))
    assert (
        rates @ counts
        == pytest.approx(profile.results.figures[CATCH_RATE].rows)
        == pytest.approx(labels.sum())
    )
