"""The metrics of the materializer (Prometheus)."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram


class MaterializerMetrics:
    """The materializer's metrics, all named dojo_materializer_*."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.runs = Counter(
            "dojo_materializer_runs_total", "Materialisations that ended well.", registry=registry
        )
        self.errors = Counter(
            "dojo_materializer_errors_total",
            "Materialisations that failed and were tried again.",
            registry=registry,
        )
        self.losses = Counter(
            "dojo_materializer_store_losses_total",
            "Times that the online store was found empty after it had rows.",
            registry=registry,
        )
        self.retention_failures = Counter(
            "dojo_materializer_retention_failures_total",
            "Deletions of what is kept too long that failed and were tried again.",
            registry=registry,
        )
        self.seconds = Histogram(
            "dojo_materializer_run_seconds",
            "Wall time of one materialisation.",
            buckets=(0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
            registry=registry,
        )
        self.age = Gauge(
            "dojo_materializer_freshness_seconds",
            "World seconds since the newest batch features online were published.",
            ["view"],
            registry=registry,
        )
        self.skew_seconds = Histogram(
            "dojo_materializer_skew_seconds",
            "Wall time of measuring one model's training-serving skew.",
            buckets=(0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
            registry=registry,
        )
        self.skew_failures = Counter(
            "dojo_materializer_skew_failures_total",
            "Measurements of training-serving skew that failed and were tried again.",
            ["model", "cause"],
            registry=registry,
        )
