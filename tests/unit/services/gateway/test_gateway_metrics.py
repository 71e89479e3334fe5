"""The gateway's metrics before the first request: limits for alerts, and counters at 0."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from dojo.core.spec.schema import ModelSpec
from dojo.core.tasks.specs import load_specs
from services.gateway.metrics import CODES, REASONS, GatewayMetrics

MODEL = "fraud_detection"


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    return load_specs(Path("models"))[MODEL]


def test_objectives_are_the_specs(spec: ModelSpec) -> None:
    registry = GatewayMetrics({MODEL: spec}).registry
    value = registry.get_sample_value
    assert (
        value("dojo_gateway_objective_ratio", {"model": MODEL, "objective": "availability"})
        == spec.serving.availability_slo
    )
    assert (
        value("dojo_gateway_objective_ratio", {"model": MODEL, "objective": "latency"})
        == spec.serving.latency_slo_share
    )
    timeout = value("dojo_gateway_feature_timeout_seconds", {"model": MODEL})
    assert timeout == spec.serving.feature_timeout.total_seconds()


@pytest.mark.parametrize("milliseconds", [50, 47, 1000])
def test_every_latency_objective_is_an_edge_of_the_histogram_under_the_name_it_is_scraped_by(
    spec: ModelSpec, milliseconds: int
) -> None:
    serving = spec.serving.model_copy(update={"latency_slo": timedelta(milliseconds=milliseconds)})
    metrics = GatewayMetrics({MODEL: spec.model_copy(update={"serving": serving})})
    metrics.latency.labels(MODEL).observe(milliseconds / 1000)
    metrics.latency.labels(MODEL).observe(milliseconds / 1000 + 0.0001)
    (objective,) = [
        s
        for family in metrics.registry.collect()
        for s in family.samples
        if "latency_objective" in s.name
    ]
    assert objective.value == milliseconds / 1000
    within = metrics.registry.get_sample_value(
        "dojo_gateway_request_seconds_bucket", objective.labels
    )
    assert within == 1, (
        "an answer that takes exactly as long as the objective is within it, a longer one is not"
    )


def test_what_error_budgets_count_is_what_the_metrics_count(spec: ModelSpec) -> None:
    metrics, objective = GatewayMetrics({MODEL: spec}), spec.serving.latency_slo.total_seconds()
    for code, times in (("200", 5), ("422", 2), ("500", 1), ("503", 3)):
        metrics.requests.labels(MODEL, code).inc(times)
    metrics.requests.labels("unknown", "404").inc()
    for seconds in (objective / 2, objective, 1.01 * objective, 10 * objective):
        metrics.latency.labels(MODEL).observe(seconds)
    requests, errors, answers, slow = metrics.answered({MODEL: spec})[MODEL]
    assert (requests, errors, answers, slow) == (11, 4, 4, 2)


def test_a_counter_that_an_alert_looks_at_is_there_before_its_first_event(spec: ModelSpec) -> None:
    value = GatewayMetrics({MODEL: spec}).registry.get_sample_value
    assert {
        code: value("dojo_gateway_requests_total", {"model": MODEL, "code": code}) for code in CODES
    } == dict.fromkeys(CODES, 0)
    found = {
        reason: value("dojo_gateway_degraded_total", {"model": MODEL, "reason": reason})
        for reason in REASONS
    }
    assert found == dict.fromkeys(REASONS, 0)
    assert value("dojo_gateway_model_rejected_total", {"model": MODEL}) == 0
