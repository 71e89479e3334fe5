"""An impossible score for a model's task is a failed row, in each process that scores."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from dojo.core.registry.bundle import Bundle, OnnxScorer
from dojo.core.tasks.specs import load_spec
from feature_repo.catalog import SERVICES
from services.gateway.sandbox.frames import ERROR, INVALID_SCORE, Result
from services.gateway.sandbox.sandbox import Sandbox
from services.gateway.versions.serving import SandboxedModel, Scored, ServedModel
from tests.support.bundles import TRAINED_AS_OF

SPEC = load_spec(Path("models/fraud_detection.yaml"))
FEATURES = SERVICES[SPEC.feature_service].features
BUNDLE = Bundle(
    model=SPEC.name,
    feature_service=SPEC.feature_service,
    features=FEATURES,
    stored_defaults={},
    decision={"threshold": 0.5},
    trained_as_of=TRAINED_AS_OF,
    sha256={},
)
# No converter writes a graph with such probabilities. So fakes replace both processes.
SCORES = [0.0, 1.0, -0.001, 1.001, math.nan, math.inf]


class _Scorer:
    def score(self, rows: np.ndarray) -> np.ndarray:
        return np.array(SCORES[: len(rows)])


class _Sandbox:
    async def score(self, values: bytes, count: int, timeout: float | None) -> list[Result]:
        return [Result(row, SCORES[row], 0.001) for row in range(count)]


def scored(version: str) -> list[Scored]:
    model = {
        "served": ServedModel(SPEC, "1", "0", BUNDLE, cast("OnnxScorer", _Scorer())),
        "sandboxed": SandboxedModel(SPEC, "1", "0", BUNDLE, cast("Sandbox", _Sandbox())),
    }[version]
    return asyncio.run(model.score(np.zeros((len(SCORES), len(FEATURES)), np.float32), None))


@pytest.mark.parametrize("version", ["served", "sandboxed"])
def test_a_probability_lies_between_0_and_1(version: str) -> None:
    found = scored(version)
    assert [one.score for one in found] == [0.0, 1.0, None, None, None, None]
    assert [one.error for one in found] == ["", "", *[INVALID_SCORE] * 4]
    assert [one.detail for one in found[2:]] == [f"the score is {score}" for score in SCORES[2:]]


def test_a_row_that_failed_in_the_sandbox_keeps_its_own_reason() -> None:
    class Failing:
        async def score(self, values: bytes, count: int, timeout: float | None) -> list[Result]:
            return [Result(0, None, 0.001, ERROR, "broken")]

    model = SandboxedModel(SPEC, "1", "0", BUNDLE, cast("Sandbox", Failing()))
    (found,) = asyncio.run(model.score(np.zeros((1, len(FEATURES)), np.float32), None))
    assert (found.score, found.error, found.detail) == (None, ERROR, "broken")
