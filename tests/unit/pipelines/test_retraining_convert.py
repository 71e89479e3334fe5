"""LightGBM and ONNX Runtime decide alike, even for splits between adjacent float32 values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lightgbm import LGBMClassifier

from dojo.core.categories import category_number, with_codes
from dojo.core.registry.bundle import PARITY_TOLERANCE, CorruptBundleError, OnnxScorer
from pipelines.training.convert import prove_parity, round_down, to_onnx, with_float32_thresholds


def neighbours(count: int) -> np.ndarray:
    """Adjacent float32 values from 100 on."""
    return (np.float32(100).view(np.int32) + np.arange(count, dtype=np.int32)).view(np.float32)


@pytest.fixture(scope="module")
def fine_grained() -> tuple[LGBMClassifier, np.ndarray]:
    """Make a model with splits between adjacent float32 values, and its rows."""
    random = np.random.default_rng(1)
    values = neighbours(400)
    inputs = np.column_stack([random.choice(values, 4000), random.random(4000)]).astype(np.float32)
    labels = (inputs[:, 0].view(np.int32) // 7) % 2
    parameters = {"n_estimators": 20, "max_bin": 4095, "num_leaves": 31, "n_jobs": 1, "verbose": -1}
    return LGBMClassifier(**parameters).fit(inputs, labels), inputs


def test_rounding_thresholds_changes_no_score(
    fine_grained: tuple[LGBMClassifier, np.ndarray],
) -> None:
    classifier, inputs = fine_grained
    rounded = with_float32_thresholds(classifier.booster_, 20)
    np.testing.assert_array_equal(rounded.predict(inputs), classifier.predict_proba(inputs)[:, 1])
    fewer = with_float32_thresholds(classifier.booster_, 5)
    assert fewer.num_trees() == 5


def test_onnx_gives_the_same_scores_between_neighbouring_inputs(
    fine_grained: tuple[LGBMClassifier, np.ndarray], tmp_path: Path
) -> None:
    classifier, inputs = fine_grained
    booster = with_float32_thresholds(classifier.booster_, 20)
    (tmp_path / "model.onnx").write_bytes(to_onnx(booster, ("a", "b")).SerializeToString())
    assert (
        prove_parity(np.asarray(booster.predict(inputs)), tmp_path / "model.onnx", inputs)
        <= PARITY_TOLERANCE
    )


def test_the_parity_gate_refuses_a_model_that_was_converted_without_care(
    fine_grained: tuple[LGBMClassifier, np.ndarray], tmp_path: Path
) -> None:
    classifier, inputs = fine_grained
    (tmp_path / "model.onnx").write_bytes(
        to_onnx(classifier.booster_, ("a", "b")).SerializeToString()
    )
    with pytest.raises(CorruptBundleError, match="parity: scores differ by up to"):
        prove_parity(classifier.predict_proba(inputs)[:, 1], tmp_path / "model.onnx", inputs)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_file_alone_gives_categories_their_codes(place: int, tmp_path: Path) -> None:
    """Each reader of the file scores a category as training did. Unknown ones score alike."""
    random, known = np.random.default_rng(2), ("post", "swift", "parcelline")
    names = np.array([*known, "rare"])[random.integers(0, 4, 3000)]
    rows = random.random((3000, 3)).astype(np.float32)
    rows[:, place] = [category_number(name) for name in names]
    labels = (names == "swift") | (names == "rare")
    features = ("a", "b", "c")
    categories = {features[place]: known}
    coded = with_codes(rows, features, categories)
    made = LGBMClassifier(n_estimators=20, verbose=-1, n_jobs=1).fit(coded, labels)
    booster = with_float32_thresholds(made.booster_, 20)
    file = tmp_path / "model.onnx"
    file.write_bytes(to_onnx(booster, features, categories).SerializeToString())
    assert prove_parity(np.asarray(booster.predict(coded)), file, rows) <= PARITY_TOLERANCE

    rare, unknown = rows[names == "rare"][:1], rows[names == "post"][:1]
    assert OnnxScorer(file).score(unknown)[0] < 0.3
    unknown[0] = rare[0]
    for number in (category_number("skyhook"), category_number("post") + 0.5, -1.0, 3.0):
        unknown[0, place] = number
        assert OnnxScorer(file).score(unknown)[0] == OnnxScorer(file).score(rare)[0] > 0.3


@given(st.floats(-1e30, 1e30))
def test_round_down_is_the_largest_float32_below(value: float) -> None:
    (rounded,) = round_down(np.array([value]))
    assert float(rounded) <= value < float(np.nextafter(rounded, np.float32(np.inf)))
