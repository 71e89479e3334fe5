"""A model version's bundle: the directory that training writes, MLflow stores and the gateway serves from.

    MLmodel, model.onnx ...      a standard MLflow model (ONNX flavour), loadable by any MLflow client
    bundle.json                  this module's `Bundle`: inputs, decision, defaults, and the hashes of the files below
    parity.json                  inputs with the scores that training got for them; whoever loads the model must get the same
    reference_profile.json       the training-time distribution that drift is measured against

The SHA-256 of bundle.json is a tag of the registry's version, so a changed byte anywhere is found before it is served.
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

# Largest difference of a score that still counts as the same model, of the largest score or of 1: float32 sums over a few hundred
# trees agree to 5e-7; a wrong model or a wrong column order differs in the second digit.
PARITY_TOLERANCE = 1e-5


class CorruptBundleError(RuntimeError):
    """A bundle that must not be served: a file is missing or changed, or the model does not give training's scores."""


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """What a server must know about a version beside the model file.

    Attributes:
        features: the model's inputs in order, float32 each.
        stored_defaults: stored feature -> its median over the training rows; what an unreachable store is replaced by. Of a
            moment (unix seconds) it is the median age at the row's time, seconds.
        decision: What was decided on the validation rows, by name (`dojo/core/tasks/protocol.py: Task.decide`).
        trained_as_of: world time the training data ends at (labels included).
        sha256: file name -> SHA-256 of its bytes, for HASHED_FILES.
        parameters: What decided the training beside its data, as text. Empty in bundles from before it was kept.
    """

    model: str
    feature_service: str
    features: tuple[str, ...]
    stored_defaults: dict[str, float]
    decision: dict[str, float]
    trained_as_of: datetime
    sha256: dict[str, str]
    parameters: dict[str, str] = {}


class Parity(msgspec.Struct, frozen=True):
    """Rows from the holdout and the scores that the trained estimator gave them. `inputs` has shape (rows, features)."""

    inputs: list[list[float]]
    scores: list[float]


class OnnxScorer:
    """Scores rows with ONNX Runtime on one thread.

    One thread: default thread pools gave a 50 ms p99 on a busy machine, and one row takes 12 microseconds.
    """

    def __init__(self, model_file: Path) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = (
            4  # what a run fails with is raised; a line on stderr for each row would fill disks
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
        # A classifier has two outputs, labels and probabilities; everything else has one.
        self._output = next((name for name in outputs if "prob" in name), outputs[0])
        if len(outputs) > 1 and "prob" not in self._output:
            raise CorruptBundleError(f"{model_file}: no output with scores, only {outputs}")

    def score(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Probability of the positive class, or the number that the model gives. rows: float32, shape (n, features) -> shape (n,)."""
        (scores,) = self._session.run([self._output], {self._input: rows})
        return scores[:, -1]  # type: ignore[no-any-return]


def write_bundle(directory: Path, bundle: Bundle) -> str:
    """Write bundle.json with the hashes of the files already in `directory`. Returns bundle.json's SHA-256."""
    hashes = {
        name: hashlib.sha256((directory / name).read_bytes()).hexdigest() for name in HASHED_FILES
    }
    content = msgspec.json.format(
        msgspec.json.encode(msgspec.structs.replace(bundle, sha256=hashes)), indent=2
    )
    (directory / BUNDLE_FILE).write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def verify_bundle(directory: Path, expected_sha256: str | None = None) -> tuple[Bundle, Parity]:
    """Read a bundle and check its hashes, without loading the model.

    Args:
        expected_sha256: what the registry says bundle.json hashes to; None skips that one check.

    Raises:
        CorruptBundleError: says what was expected and found.
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
        for name in HASHED_FILES:
            found = hashlib.sha256((directory / name).read_bytes()).hexdigest()
            if found != bundle.sha256.get(name):
                raise CorruptBundleError(
                    f"{directory / name}: SHA-256 is {found}, bundle.json says"
                    f" {bundle.sha256.get(name)}"
                )
        return bundle, msgspec.json.decode((directory / PARITY_FILE).read_bytes(), type=Parity)
    except (OSError, msgspec.MsgspecError) as error:
        raise CorruptBundleError(f"{directory}: {error}") from error


def load_bundle(directory: Path, expected_sha256: str | None = None) -> tuple[Bundle, OnnxScorer]:
    """Open a bundle and prove it: hashes, input width, and parity with training's scores. Arguments as for `verify_bundle`.

    Raises:
        CorruptBundleError: says what was expected and found.
    """
    bundle, parity = verify_bundle(directory, expected_sha256)
    scorer = OnnxScorer(directory / MODEL_FILE)
    check_parity(scorer, parity, len(bundle.features))
    return bundle, scorer


def check_parity(scorer: OnnxScorer, parity: Parity, width: int) -> float:
    """The largest difference between the scorer's and training's scores, as a share of the largest score or of 1.

    Raises:
        CorruptBundleError: it exceeds PARITY_TOLERANCE, there are no rows, or their width is not `width`.
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
