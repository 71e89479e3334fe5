"""A model version's bundle, a directory.

Training writes it, MLflow stores it, the gateway serves it.

    MLmodel, model.onnx ...      a standard MLflow model (ONNX flavour), loadable by any client
    bundle.json                  `Bundle`: inputs, decision, defaults, hashes of the files below
    parity.json                  inputs with the scores that training got for them
    reference_profile.json       the training-time distribution that drift is measured against
    trees.txt                    the same trees as LightGBM's text, which only explanations read

Each process that loads the model must get the scores of parity.json. The registry's version
has the SHA-256 of bundle.json as a tag. So a changed byte is found before it is served.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import onnxruntime as ort

BUNDLE_FILE = "bundle.json"
MODEL_FILE = "model.onnx"
PARITY_FILE = "parity.json"
PROFILE_FILE = "reference_profile.json"
HASHED_FILES = (MODEL_FILE, PARITY_FILE, PROFILE_FILE)
TREES_FILE = "trees.txt"  # serving does not need it, and older bundles lack it

# Largest difference of a score that still counts as the same model. It is a share of the largest
# score or of 1. Float32 sums over a few hundred trees agree to 5e-7. Where a score is the
# exponential of such a sum, thousands of euros agree to 2e-5. A wrong model or a wrong column order
# differs in the second digit.
PARITY_TOLERANCE = 1e-4


class CorruptBundleError(RuntimeError):
    """A bundle that must not be served.

    A file is missing or changed, or the model does not give training's scores.
    """


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """What a server must know about a version beside the model file.

    Attributes:
        features: The model's inputs in order, float32 each.
        stored_defaults: Stored feature -> its median over the training rows, which replaces an
            unreachable store. For a moment (unix seconds) it is the median age at the row's time,
            seconds.
        categories: Feature -> names of the categories that the version knows, in the order of their
            codes (dojo/core/categories.py). The model file has the same codes.
        decision: Decisions on the validation rows, by name
            (`dojo/core/tasks/protocol.py: Task.decide`).
        trained_as_of: World time at which the training data ends, labels included.
        sha256: File name -> SHA-256 of its bytes, for HASHED_FILES and TREES_FILE.
        parameters: Settings that decided the training beside its data, as text. Empty in bundles
            from before it was kept.
    """

    model: str
    feature_service: str
    features: tuple[str, ...]
    stored_defaults: dict[str, float]
    decision: dict[str, float]
    trained_as_of: datetime
    sha256: dict[str, str]
    parameters: dict[str, str] = {}
    categories: dict[str, tuple[str, ...]] = {}


class Parity(msgspec.Struct, frozen=True):
    """Rows from the holdout and the scores that the trained estimator gave them.

    `inputs` has shape (rows, features).
    """

    inputs: list[list[float]]
    scores: list[float]


class OnnxScorer:
    """Scores rows with ONNX Runtime on one thread.

    Default thread pools gave a 50 ms p99 on a busy machine, and one row takes 12 microseconds.
    """

    def __init__(self, model_file: Path) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = (
            4  # a failed run raises its error, and a line on stderr for each row would fill disks
        )
        try:
            self._session = ort.InferenceSession(
                str(model_file), options, providers=["CPUExecutionProvider"]
            )
        except (
            Exception
        ) as error:  # ONNX Runtime raises its own classes, all derived from Exception only
            raise CorruptBundleError(
                f"{model_file}: ONNX Runtime cannot load it: {error}"
            ) from error
        self._input = self._session.get_inputs()[0].name
        outputs = [o.name for o in self._session.get_outputs()]
        # A classifier has two outputs, labels and probabilities. Everything else has one.
        self._output = next((name for name in outputs if "prob" in name), outputs[0])
        if len(outputs) > 1 and "prob" not in self._output:
            raise CorruptBundleError(f"{model_file}: no output with scores, only {outputs}")

    def score(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the probability of the positive class, or the number that the model gives.

        Args:
            rows: Inputs, float32, shape (n, features).

        Returns:
            Scores, shape (n,).
        """
        (scores,) = self._session.run([self._output], {self._input: rows})
        return scores[:, -1]  # type: ignore[no-any-return]


def write_bundle(directory: Path, bundle: Bundle) -> str:
    """Write bundle.json with the hashes of the files already in `directory`.

    Returns bundle.json's SHA-256.
    """
    hashes = {
        name: hashlib.sha256((directory / name).read_bytes()).hexdigest()
        for name in (*HASHED_FILES, TREES_FILE)
        if name != TREES_FILE or (directory / name).exists()
    }
    content = msgspec.json.format(
        msgspec.json.encode(msgspec.structs.replace(bundle, sha256=hashes)), indent=2
    )
    (directory / BUNDLE_FILE).write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def verify_bundle(directory: Path, expected_sha256: str | None = None) -> tuple[Bundle, Parity]:
    """Read a bundle and check its hashes, without loading the model.

    Args:
        expected_sha256: SHA-256 of bundle.json in the registry. None skips that one check.

    Raises:
        CorruptBundleError: Says what was expected and found.
    """
    try:
        content = (directory / BUNDLE_FILE).read_bytes()
        found = hashlib.sha256(content).hexdigest()
        if expected_sha256 is not None and found != expected_sha256:
            raise CorruptBundleError(
                f"{directory / BUNDLE_FILE}: SHA-256 is {found}, the registry says"
                f" {expected_sha256}"
            )
        bundle = msgspec.json.decode(content, type=Bundle)
        contents = {name: _registered(directory / name, bundle) for name in HASHED_FILES}
        return bundle, msgspec.json.decode(contents[PARITY_FILE], type=Parity)
    except (OSError, msgspec.MsgspecError) as error:
        raise CorruptBundleError(f"{directory}: {error}") from error


def read_trees(directory: Path, bundle: Bundle) -> str:
    """Return a verified bundle's trees as LightGBM's text.

    Raises:
        CorruptBundleError: There are none, or they are not those that were registered.
    """
    if TREES_FILE not in bundle.sha256:
        raise CorruptBundleError("it was registered before bundles kept their trees as text")
    try:
        return _registered(directory / TREES_FILE, bundle).decode()
    except OSError as error:
        raise CorruptBundleError(f"{directory / TREES_FILE}: {error.strerror}") from error


def _registered(file: Path, bundle: Bundle) -> bytes:
    """Return the content of a bundle's file.

    Raises:
        CorruptBundleError: It is not the content that bundle.json has the hash of.
    """
    content, expected = file.read_bytes(), bundle.sha256.get(file.name)
    if (found := hashlib.sha256(content).hexdigest()) != expected:
        raise CorruptBundleError(f"{file}: SHA-256 is {found}, bundle.json says {expected}")
    return content


def load_bundle(directory: Path, expected_sha256: str | None = None) -> tuple[Bundle, OnnxScorer]:
    """Open a bundle and prove it: hashes, input width, and parity with training's scores.

    Arguments as for `verify_bundle`.

    Raises:
        CorruptBundleError: Says what was expected and found.
    """
    bundle, parity = verify_bundle(directory, expected_sha256)
    scorer = OnnxScorer(directory / MODEL_FILE)
    check_parity(scorer, parity, len(bundle.features))
    return bundle, scorer


def check_parity(scorer: OnnxScorer, parity: Parity, width: int) -> float:
    """Return the largest difference between the scorer's and training's scores.

    It is a share of the largest score or of 1.

    Raises:
        CorruptBundleError: The difference exceeds PARITY_TOLERANCE, there are no rows, or their
            width is not `width`.
    """
    inputs = np.asarray(parity.inputs, dtype=np.float32)
    if inputs.ndim != 2 or inputs.shape[1] != width or not len(inputs) == len(parity.scores) > 0:
        raise CorruptBundleError(
            f"parity rows have shape {inputs.shape} for {len(parity.scores)} scores and {width}"
            " features"
        )
    try:
        scores = scorer.score(inputs)
    except Exception as error:  # ONNX Runtime's own classes derive from Exception only
        raise CorruptBundleError(f"the model cannot score its own parity rows: {error}") from error
    wanted = np.asarray(parity.scores)
    difference = float(np.max(np.abs(scores - wanted))) / max(1.0, float(np.max(np.abs(wanted))))
    if not difference <= PARITY_TOLERANCE:  # also refuses NaN
        raise CorruptBundleError(
            f"parity: scores differ by up to {difference:.3g}, allowed {PARITY_TOLERANCE:g}"
        )
    return difference
