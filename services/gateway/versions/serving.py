"""One verified version, ready to score.

A trusted and fast one runs here, others in their own process.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

from dojo.core.registry.bundle import Bundle, CorruptBundleError, OnnxScorer
from dojo.core.spec.schema import ModelSpec
from dojo.core.tasks.specs import task_of
from feature_repo.catalog import SERVICES
from services.gateway.features.lookup import FeaturePlan
from services.gateway.sandbox.frames import ERROR, INVALID_SCORE
from services.gateway.sandbox.pace import BATCH_ROWS, VersionPace, fastest, measure, warm_up
from services.gateway.sandbox.sandbox import Sandbox

Rows: TypeAlias = npt.NDArray[np.float32]  # shape (instances, features)

ONNX_ERRORS = (Fail, InvalidArgument, RuntimeException)


class Scored(msgspec.Struct, frozen=True, gc=False):
    """One row's score, or None with an `error` when scoring failed.

    Attributes:
        seconds: Wall time of scoring alone.
        error: One of the reasons in `sandbox.frames`.
        detail: Explanation for people.
    """

    score: float | None
    seconds: float
    error: str = ""
    detail: str = ""


class ScorableVersion(Protocol):
    """A version that scores rows.

    Attributes:
        takes_batches: True if rows of several requests may be scored together.
        run_seconds: Time to score as many rows as share a run. 0 until it is measured.
        categories: The fields of categories that its features read, and what it knows of each.
    """

    takes_batches: bool
    version: str
    sha256: str
    bundle: Bundle
    plan: FeaturePlan
    categories: tuple[tuple[str, frozenset[str]], ...]

    async def score(self, rows: Rows, timeout: float | None) -> list[Scored]:
        """Return a result per row, in order. Never raises.

        Args:
            timeout: Seconds after which missing results count as failed. None for no limit. Only a
                separate process (SandboxedModel) can keep to it. A trusted version (ServedModel)
                ignores it.
        """

    @property
    def run_seconds(self) -> float: ...

    @property
    def state(self) -> str:
        """ "ok", or the problem."""


class _Described:
    """The contents of a version's bundle, checked against the spec.

    Raises:
        CorruptBundleError: The bundle belongs to another model, or wants unknown features, or
            inputs that callers do not send.
    """

    def __init__(self, spec: ModelSpec, version: str, sha256: str, bundle: Bundle) -> None:
        if bundle.model != spec.name:
            raise CorruptBundleError(f"a bundle of {bundle.model!r} registered as {spec.name!r}")
        self.version = version
        self.sha256 = sha256
        self.bundle = bundle
        self.plan = FeaturePlan(bundle)
        self.categories = tuple(
            (field, frozenset(known)) for field, known in bundle.categories.items()
        )
        self._low, self._high = task_of(spec).score_bounds
        sent = SERVICES[spec.feature_service].request
        wanted = {
            *self.plan.request.names,
            self.plan.request.time_input,
            *(fields.entity for fields in self.plan.entities),
        }
        if missing := wanted - {*sent.names, sent.time_input, *spec.entities}:
            raise CorruptBundleError(
                f"{bundle.feature_service} wants {sorted(missing)}, which callers of {spec.name} do"
                " not send"
            )

    def _checked(
        self, score: float | None, seconds: float, error: str = "", detail: str = ""
    ) -> Scored:
        """Return a result. A score outside the task's range (NaN included) makes it a failure."""
        if score is None or self._low <= score <= self._high:
            return Scored(score, seconds, error, detail)
        return Scored(None, seconds, INVALID_SCORE, f"the score is {score}")


class ServedModel(_Described):
    """A trusted and fast version, scored in this process in microseconds.

    Its time has no limit, so a version that may hang is not trusted yet.

    One run scores the rows of many requests. After a call, the model's trees are in the processor's
    cache. A second row then costs a fifth of the first.
    """

    state = "ok"
    takes_batches = True

    def __init__(
        self, spec: ModelSpec, version: str, sha256: str, bundle: Bundle, scorer: OnnxScorer
    ) -> None:
        super().__init__(spec, version, sha256, bundle)
        self._scorer = scorer
        self._limit, self.run_seconds = math.inf, 0.0
        self._run = 1 if (batching := spec.serving.batching) is None else batching.rows
        self._was_slow: Callable[[Rows], None] = lambda _: None

    def watch(self, limit: float, was_slow: Callable[[Rows], None]) -> None:
        """Have `was_slow` called with the rows of each run that takes longer than `limit`."""
        self._limit, self._was_slow = limit, was_slow

    async def score(self, rows: Rows, timeout: float | None) -> list[Scored]:
        started = time.perf_counter()
        scored = self.score_now(rows)
        if time.perf_counter() - started > self._limit:
            self._was_slow(rows)
        return scored

    def score_now(self, rows: Rows) -> list[Scored]:
        """Score all rows in one run.

        If that fails, score them one by one, so that one bad row does not cost the other answers.
        """
        started = time.perf_counter()
        try:
            scores = self._scorer.score(rows).tolist()
        except ONNX_ERRORS as error:
            seconds = time.perf_counter() - started
            if len(rows) == 1:
                return [Scored(None, seconds, ERROR, f"{type(error).__name__}: {error}"[:200])]
            return [self.score_now(rows[at : at + 1])[0] for at in range(len(rows))]
        seconds = (time.perf_counter() - started) / len(rows)
        return [self._checked(score, seconds) for score in scores]

    def warm(self) -> None:
        rows: Rows = np.zeros((2, len(self.bundle.features)), np.float32)
        for count in (1, 2):
            warm_up(partial(self.score_now, rows[:count]))

    def pace(self, limit: float) -> VersionPace:
        """Measure a warm version. It is slow from `limit` seconds on."""
        measured = measure(self.score_now, len(self.bundle.features), limit, run=self._run)
        self.run_seconds = measured.run_seconds
        return measured

    def is_slow_with(self, rows: Rows, limit: float) -> bool:
        """Whether these rows take longer than `limit`. One stall of the machine is not enough.

        A request may have more rows than a batch. It is slow by its size, and not by the version.
        """
        return fastest(self.score_now, rows[:BATCH_ROWS]) > limit


class SandboxedModel(_Described):
    """An untrusted or slow version, scored in a child process. The child may crash or hang."""

    def __init__(
        self, spec: ModelSpec, version: str, sha256: str, bundle: Bundle, sandbox: Sandbox
    ) -> None:
        super().__init__(spec, version, sha256, bundle)
        self.sandbox = sandbox
        # Without the spec's word, a row that crashes or hangs the child costs no other request
        # its score.
        self.takes_batches = spec.serving.batching is not None

    @property
    def run_seconds(self) -> float:
        return self.sandbox.run_seconds

    @property
    def state(self) -> str:
        return self.sandbox.state

    async def score(self, rows: Rows, timeout: float | None) -> list[Scored]:
        results = await self.sandbox.score(rows.tobytes(), len(rows), timeout)
        return [
            self._checked(result.score, result.seconds, result.error, result.detail)
            for result in results
        ]
