"""A bundle is served only when it is whole, unchanged and gives training's scores."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

from dojo.core.registry.bundle import (
    BUNDLE_FILE,
    HASHED_FILES,
    MODEL_FILE,
    PARITY_FILE,
    PARITY_TOLERANCE,
    TREES_FILE,
    Bundle,
    CorruptBundleError,
    OnnxScorer,
    Parity,
    check_parity,
    load_bundle,
    read_trees,
    verify_bundle,
    write_bundle,
)
from tests.support.bundles import make_bundle


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Make a small real model's bundle and its SHA-256. Tests change copies of it."""
    directory = tmp_path_factory.mktemp("bundle")
    return directory, make_bundle(directory)


@pytest.fixture
def copied(whole: tuple[Path, str], tmp_path: Path) -> tuple[Path, str]:
    shutil.copytree(whole[0], tmp_path / "bundle")
    return tmp_path / "bundle", whole[1]


def rewrite_parity(directory: Path, change: dict[str, object]) -> str:
    """Change the parity file and sign the bundle anew.

    A faulty training run leaves such a bundle, a faulty disk does not.
    """
    parity = msgspec.json.decode((directory / PARITY_FILE).read_bytes())
    (directory / PARITY_FILE).write_bytes(msgspec.json.encode({**parity, **change}))
    return write_bundle(
        directory, msgspec.json.decode((directory / BUNDLE_FILE).read_bytes(), type=Bundle)
    )


def parity_of(directory: Path) -> Parity:
    return msgspec.json.decode((directory / PARITY_FILE).read_bytes(), type=Parity)


def test_a_whole_bundle_loads_and_scores_as_training_did(whole: tuple[Path, str]) -> None:
    directory, sha256 = whole
    bundle, scorer = load_bundle(directory, sha256)
    parity = parity_of(directory)
    assert len(bundle.features) == len(parity.inputs[0])
    assert check_parity(scorer, parity, len(bundle.features)) <= PARITY_TOLERANCE
    assert np.ptp(scorer.score(np.asarray(parity.inputs, dtype=np.float32))) > 0.1, (
        "a constant model proves nothing"
    )


@pytest.mark.parametrize("name", [BUNDLE_FILE, *HASHED_FILES])
@pytest.mark.parametrize("place", [0.0, 0.5, 0.99])
def test_one_flipped_bit_anywhere_is_found(
    copied: tuple[Path, str], name: str, place: float
) -> None:
    directory, sha256 = copied
    content = bytearray((directory / name).read_bytes())
    content[int(len(content) * place)] ^= 1
    (directory / name).write_bytes(content)
    with pytest.raises(CorruptBundleError, match=rf"{name}: SHA-256 is [0-9a-f]{{64}}, "):
        load_bundle(directory, sha256)


@pytest.mark.parametrize("name", [BUNDLE_FILE, *HASHED_FILES])
def test_a_missing_or_empty_file_is_named(copied: tuple[Path, str], name: str) -> None:
    directory, sha256 = copied
    (directory / name).write_bytes(b"")
    with pytest.raises(CorruptBundleError, match=name):
        load_bundle(directory, sha256)
    (directory / name).unlink()
    with pytest.raises(CorruptBundleError, match=name):
        load_bundle(directory, sha256)


def test_a_bundle_of_another_version_is_refused(copied: tuple[Path, str], tmp_path: Path) -> None:
    directory, sha256 = copied
    other = make_bundle(tmp_path / "other", seed=2)
    assert other != sha256
    with pytest.raises(CorruptBundleError, match="the registry says"):
        load_bundle(directory, other)


def test_a_model_of_another_training_run_is_refused(
    copied: tuple[Path, str], tmp_path: Path
) -> None:
    """Both are whole and signed. Only parity shows that they do not belong together."""
    directory, _ = copied
    make_bundle(tmp_path / "other", seed=2)
    shutil.copy(tmp_path / "other" / MODEL_FILE, directory / MODEL_FILE)
    with pytest.raises(CorruptBundleError, match="parity: scores differ by up to"):
        load_bundle(directory, rewrite_parity(directory, {}))


def shuffled(rows: list[list[float]]) -> list[list[float]]:
    return [row[::-1] for row in rows]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda p: {"scores": [s + 2 * PARITY_TOLERANCE for s in p.scores]},
            "parity: scores differ",
        ),
        (lambda p: {"inputs": shuffled(p.inputs)}, "parity: scores differ"),
        (lambda p: {"scores": [float("nan"), *p.scores[1:]]}, "scores"),
        (lambda p: {"scores": p.scores[1:]}, "for 49 scores"),
        (lambda p: {"inputs": [row[:-1] for row in p.inputs]}, "parity rows have shape"),
        (lambda p: {"inputs": [], "scores": []}, "parity rows have shape"),
    ],
    ids=[
        "scores-off",
        "columns-in-another-order",
        "nan-score",
        "a-score-missing",
        "a-column-missing",
        "no-rows",
    ],
)
def test_a_bundle_without_parity_is_refused_even_when_signed(
    copied: tuple[Path, str], change, reason: str
) -> None:
    directory, _ = copied
    sha256 = rewrite_parity(directory, change(parity_of(directory)))
    with pytest.raises(CorruptBundleError, match=reason):
        load_bundle(directory, sha256)


class _NotANumber:
    """A model with broken arithmetic.

    It is a fake, because no ONNX converter writes such a model.
    """

    def score(self, rows: np.ndarray) -> np.ndarray:
        return np.full(len(rows), np.nan, dtype=np.float32)


def test_a_model_that_scores_nan_is_refused(whole: tuple[Path, str]) -> None:
    parity = parity_of(whole[0])
    with pytest.raises(CorruptBundleError, match="differ by up to nan"):
        check_parity(_NotANumber(), parity, len(parity.inputs[0]))  # type: ignore[arg-type]


def test_a_model_file_that_is_no_model_is_refused_even_when_signed(
    copied: tuple[Path, str],
) -> None:
    directory, _ = copied
    (directory / MODEL_FILE).write_bytes(b"not ONNX")
    with pytest.raises(CorruptBundleError, match="ONNX Runtime cannot load it"):
        load_bundle(directory, rewrite_parity(directory, {}))


def save_identity(directory: Path, width: int, *outputs: str) -> Path:
    """Save a model with its input as output, shape (rows, width)."""
    from onnx import TensorProto, helper, save

    graph = helper.make_graph(
        [helper.make_node("Identity", ["input"], [name]) for name in outputs],
        "identity",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [None, width])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, width]) for name in outputs],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    save(model, str(directory / MODEL_FILE))
    return directory / MODEL_FILE


@pytest.mark.parametrize(
    ("outputs", "reason"),
    [
        (["label"], "parity: scores differ"),
        (["label", "logits"], r"no output with scores, only \['label', 'logits'\]"),
    ],
    ids=["one-output", "two-outputs"],
)
def test_a_model_without_scores_is_refused(
    copied: tuple[Path, str], outputs: list[str], reason: str
) -> None:
    directory, _ = copied
    save_identity(directory, len(parity_of(directory).inputs[0]), *outputs)
    with pytest.raises(CorruptBundleError, match=reason):
        load_bundle(directory, rewrite_parity(directory, {}))


@pytest.mark.parametrize(
    ("largest", "allowed"), [(0.5, PARITY_TOLERANCE), (400.0, 400 * PARITY_TOLERANCE)]
)
def test_a_model_of_values_is_as_exact_as_its_largest_score(
    tmp_path: Path, largest: float, allowed: float
) -> None:
    """Float32 knows 400 euro less exactly than half a probability."""
    scorer = OnnxScorer(save_identity(tmp_path, 1, "variable"))
    inputs = [[largest], [-largest / 2]]
    near, far = ([value + share * allowed for (value,) in inputs] for share in (-0.9, -1.1))
    assert check_parity(scorer, Parity(inputs=inputs, scores=near), 1) == pytest.approx(
        0.9 * PARITY_TOLERANCE, rel=0.01
    )
    with pytest.raises(CorruptBundleError, match="parity: scores differ"):
        check_parity(scorer, Parity(inputs=inputs, scores=far), 1)


def test_the_trees_are_those_of_the_registered_bundle_and_serving_does_not_need_them(
    copied: tuple[Path, str],
) -> None:
    directory, sha256 = copied
    bundle, _ = verify_bundle(directory, sha256)
    trees = read_trees(directory, bundle)
    assert trees.startswith("tree\n")
    (directory / TREES_FILE).write_text(trees + " ")
    with pytest.raises(CorruptBundleError, match=r"trees\.txt: SHA-256 is"):
        read_trees(directory, bundle)
    (directory / TREES_FILE).unlink()
    with pytest.raises(CorruptBundleError, match=r"trees\.txt: No such file"):
        read_trees(directory, bundle)
    load_bundle(directory, sha256)
    older = write_bundle(directory, bundle)
    with pytest.raises(CorruptBundleError, match="before bundles kept their trees"):
        read_trees(directory, verify_bundle(directory, older)[0])
