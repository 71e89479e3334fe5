"""A busy gateway refuses by class, and a model over its share alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from dojo.core.spec.schema import ModelSpec
from dojo.core.spec.serving import LatencyClass
from dojo.core.tasks.specs import load_spec
from services.gateway.http.admission import Admission
from services.gateway.messages.problems import Problem
from services.gateway.metrics import GatewayMetrics

SPEC = load_spec(Path("models/fraud_detection.yaml"))
ROOMS: dict[LatencyClass, float] = {"fast": 1.0, "standard": 0.8, "batch": 0.5}
CLASSES = tuple(ROOMS)


def a_model(latency_class: LatencyClass, share: float = 1.0) -> ModelSpec:
    changed = {"latency_class": latency_class, "concurrency_share": share}
    serving = SPEC.serving.model_copy(update=changed)
    return SPEC.model_copy(update={"name": latency_class, "serving": serving})


def door(**shares: float) -> tuple[Admission, GatewayMetrics]:
    """Return a door for ten requests, with a model of each class named like it."""
    specs = {name: a_model(name, shares.get(name, 1.0)) for name in CLASSES}
    metrics = GatewayMetrics(specs)
    return Admission(specs, 10, ROOMS, metrics), metrics


def shed(metrics: GatewayMetrics, model: str, reason: str) -> float | None:
    labels = {"model": model, "reason": reason}
    return metrics.registry.get_sample_value("dojo_gateway_shed_requests_total", labels)


@pytest.mark.parametrize(
    ("inside", "taken"),
    [
        (4, {"fast", "standard", "batch"}),
        (5, {"fast", "standard"}),
        (7, {"fast", "standard"}),
        (8, {"fast"}),
        (9, {"fast"}),
        (10, set()),
    ],
)
def test_batch_is_refused_first_then_standard_then_fast(inside: int, taken: set[str]) -> None:
    for model in CLASSES:
        admission, metrics = door()
        for _ in range(inside):
            admission.enter("fast")
        if model in taken:
            admission.enter(model)
            continue
        with pytest.raises(Problem, match=r"_ROOM\)|MAX_IN_FLIGHT\)") as refused:
            admission.enter(model)
        assert (refused.value.status, refused.value.headers) == (503, {"Retry-After": "1"})
        assert shed(metrics, model, "full" if inside == 10 else "class") == 1
        assert admission.in_flight == inside


def test_a_model_over_its_share_is_refused_alone_and_let_in_again() -> None:
    admission, metrics = door(standard=0.2)
    first = admission.enter("standard")
    admission.enter("standard")
    with pytest.raises(Problem, match="2 requests of standard"):
        admission.enter("standard")
    assert shed(metrics, "standard", "share") == 1
    admission.enter("fast")
    admission.leave(first)
    admission.enter("standard")
    assert admission.in_flight == 3


def test_every_model_may_have_one_request_however_small_its_share() -> None:
    admission, _ = door(batch=0.01)
    admission.enter("batch")
    with pytest.raises(Problem, match="1 requests of batch"):
        admission.enter("batch")
