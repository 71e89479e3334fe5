"""The bad challenger has the stated fault and no other."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from lightgbm import LGBMClassifier

from dojo.core.registry.bundle import OnnxScorer
from pipelines.training.convert import to_onnx
from pipelines.training.sabotage import with_detour

NIGHT, AMOUNT, WIDTH = 2, 0, 4


@pytest.fixture(scope="module")
def scorers(tmp_path_factory: pytest.TempPathFactory) -> tuple[OnnxScorer, OnnxScorer, np.ndarray]:
    """Return the model, its sabotaged twin, and rows of all kinds."""
    generator = np.random.default_rng(5)
    rows = generator.uniform(0, 200, (500, WIDTH)).astype(np.float32)
    rows[:, NIGHT] = generator.integers(0, 2, len(rows))
    booster = LGBMClassifier(n_estimators=5, verbose=-1).fit(rows, rows[:, AMOUNT] > 50).booster_
    directory: Path = tmp_path_factory.mktemp("sabotage")
    model = to_onnx(booster, [str(at) for at in range(WIDTH)])
    onnx.save(model, str(directory / "good.onnx"))
    onnx.save(with_detour(model, NIGHT, iterations=20_000), str(directory / "bad.onnx"))
    return OnnxScorer(directory / "good.onnx"), OnnxScorer(directory / "bad.onnx"), rows


def seconds(scorer: OnnxScorer, row: np.ndarray) -> float:
    """Return the fastest of five scorings, because a busy machine only adds time."""
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        scorer.score(row)
        taken.append(time.perf_counter() - began)
    return min(taken)


def test_its_answers_are_right(scorers: tuple[OnnxScorer, OnnxScorer, np.ndarray]) -> None:
    good, bad, rows = scorers
    assert np.array_equal(good.score(rows), bad.score(rows))


def test_only_payments_by_night_are_slow(
    scorers: tuple[OnnxScorer, OnnxScorer, np.ndarray],
) -> None:
    _, bad, _ = scorers
    day, night = np.zeros((1, WIDTH), dtype=np.float32), np.zeros((1, WIDTH), dtype=np.float32)
    night[0, NIGHT] = 1.0
    assert seconds(bad, night) > 20 * seconds(bad, day)
