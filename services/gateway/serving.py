"""One verified version, ready to score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dojo.bundle import Bundle, CorruptBundleError, OnnxScorer
from dojo.specs import ModelSpec
from services.gateway.features import FeaturePlan

# Scorings before a version gets traffic: the first ones allocate ONNX Runtime's arenas (milliseconds instead of microseconds).
WARM_UP_SCORINGS = 20


class ServedModel:
    """A version with its scorer and feature plan.

    Raises:
        CorruptBundleError: the bundle belongs to another model, or wants features that do not exist.
    """

    def __init__(self, spec: ModelSpec, version: str, sha256: str, bundle: Bundle, scorer: OnnxScorer) -> None:
        if bundle.model != spec.name:
            raise CorruptBundleError(f"a bundle of {bundle.model!r} registered as {spec.name!r}")
        self.version = version
        self.sha256 = sha256
        self.bundle = bundle
        self.plan = FeaturePlan(bundle)
        self._scorer = scorer

    def score(self, vectors: Sequence[Sequence[float]]) -> tuple[list[list[float]], list[float]]:
        """Score input vectors. Returns the exact values scored (rounded to float32) and the probabilities."""
        rows = np.array(vectors, dtype=np.float32)
        return rows.tolist(), self._scorer.score(rows).tolist()

    def warm(self) -> None:
        vector = [0.0] * len(self.bundle.features)
        for rows in (1, 2):
            for _ in range(WARM_UP_SCORINGS):
                self.score([vector] * rows)
