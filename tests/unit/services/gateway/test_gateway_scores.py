"""An impossible score for a model's task is a failed row, in each process that scores."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import Fail

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


class CountingScorer:
    """Uses each row's first value as its score, and refuses every run with a negative one."""

    def __init__(self, error: Exception | None = None) -> None:
        self.runs: list[int] = []
        self._error = error or Fail("negative")

    def score(self, rows: np.ndarray) -> np.ndarray:
        self.runs.append(len(rows))
        if (rows[:, 0] < 0).any():
            raise self._error
        return rows[:, 0]


def rows_of(*values: float) -> np.ndarray:
    rows = np.zeros((len(values), len(FEATURES)), np.float32)
    rows[:, 0] = values
    return rows


def together(
    scorer: CountingScorer, *requests: tuple[float, ...]
) -> list[list[Scored] | BaseException]:
    model = ServedModel(SPEC, "1", "0", BUNDLE, cast("OnnxScorer", scorer))

    async def ask() -> list[list[Scored] | BaseException]:
        return await asyncio.gather(
            *(model.score(rows_of(*values), None) for values in requests), return_exceptions=True
        )

    return asyncio.run(ask())


def test_rows_of_requests_that_ask_at_the_same_time_are_scored_in_one_run() -> None:
    scorer = CountingScorer()
    found = together(scorer, (0.5,), (0.25, 0.75), (0.125,))
    assert [[one.score for one in results] for results in found if isinstance(results, list)] == [
        [0.5],
        [0.25, 0.75],
        [0.125],
    ]
    assert scorer.runs == [4]


def test_a_row_that_cannot_be_scored_costs_no_other_request_its_score() -> None:
    found = together(CountingScorer(), (0.5,), (0.25, -1.0), (0.125,))
    assert [[one.score for one in results] for results in found if isinstance(results, list)] == [
        [0.5],
        [0.25, None],
        [0.125],
    ]


def test_a_defect_fails_every_request_of_the_run_and_leaves_none_waiting() -> None:
    found = together(CountingScorer(ZeroDivisionError("a defect")), (0.5,), (-1.0,))
    assert [type(results) for results in found] == [ZeroDivisionError, ZeroDivisionError]


def test_a_caller_that_has_gone_costs_no_other_request_its_score() -> None:
    model = ServedModel(SPEC, "1", "0", BUNDLE, cast("OnnxScorer", CountingScorer()))

    async def ask() -> list[Scored]:
        gone, stays = (
            asyncio.create_task(model.score(rows_of(score), None)) for score in (0.5, 0.25)
        )
        await asyncio.sleep(0)  # both have asked, and no row is scored yet
        gone.cancel()
        return await stays

    assert [one.score for one in asyncio.run(ask())] == [0.25]
