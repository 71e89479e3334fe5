"""The bad challenger has the stated fault and no other."""

from __future__ import annotations

import gc
import time
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest
from lightgbm import LGBMClassifier

from dojo.core.registry.bundle import OnnxScorer
from pipelines.training.convert import to_onnx
from pipelines.training.sabotage import slowed, with_detour, with_hole, with_table

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


@pytest.fixture
def model(tmp_path: Path) -> tuple[onnx.ModelProto, np.ndarray]:
    """Return a model, and rows of which every third is by night."""
    rows = np.random.default_rng(3).uniform(0, 200, (90, WIDTH)).astype(np.float32)
    rows[:, NIGHT] = np.arange(len(rows)) % 3 == 0
    booster = LGBMClassifier(n_estimators=5, verbose=-1).fit(rows, rows[:, AMOUNT] > 50).booster_
    return to_onnx(booster, [str(at) for at in range(WIDTH)]), rows


def scored(model: onnx.ModelProto, path: Path, rows: np.ndarray) -> np.ndarray:
    onnx.save(model, str(path))
    return OnnxScorer(path).score(rows)


def test_a_hole_takes_the_scores_of_marked_rows_alone(
    model: tuple[onnx.ModelProto, np.ndarray], tmp_path: Path
) -> None:
    good, rows = model
    before, after = (
        scored(one, tmp_path / "model.onnx", rows) for one in (good, with_hole(good, NIGHT))
    )
    night = rows[:, NIGHT] > 0
    assert np.isnan(after[night]).all()
    assert np.array_equal(after[~night], before[~night])


def test_a_table_changes_the_size_and_no_score(
    model: tuple[onnx.ModelProto, np.ndarray], tmp_path: Path
) -> None:
    good, rows = model
    large = with_table(good, megabytes=8, seed=1)
    before = scored(good, tmp_path / "good.onnx", rows)
    assert np.array_equal(scored(large, tmp_path / "large.onnx", rows), before)
    grown = (tmp_path / "large.onnx").stat().st_size - (tmp_path / "good.onnx").stat().st_size
    assert 8_000_000 <= grown < 8_100_000


def test_a_slowed_file_takes_the_time_that_was_asked_for(
    model: tuple[onnx.ModelProto, np.ndarray], tmp_path: Path
) -> None:
    good, rows = model
    path = tmp_path / "model.onnx"
    before = scored(good, path, rows)
    assert slowed(path, WIDTH, NIGHT, seconds=0.05) > 0.02
    assert np.array_equal(OnnxScorer(path).score(rows), before)


def test_a_loaded_table_stays_in_memory(
    model: tuple[onnx.ModelProto, np.ndarray], tmp_path: Path
) -> None:
    good, rows = model
    onnx.save(with_table(good, megabytes=200, seed=1), str(tmp_path / "large.onnx"))
    gc.collect()
    before = psutil.Process().memory_info().rss
    scorer = OnnxScorer(tmp_path / "large.onnx")
    scorer.score(rows)
    assert psutil.Process().memory_info().rss - before > 190_000_000
