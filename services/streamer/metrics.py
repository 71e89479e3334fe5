"""What the streamer measures (Prometheus)."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram


class StreamerMetrics:
    """The streamer's metrics, all named dojo_streamer_*."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.events = Counter(
            "dojo_streamer_events_total", "Events applied to the online store.", registry=registry
        )
        self.errors = Counter(
            "dojo_streamer_errors_total",
            "Rounds that failed and were tried again.",
            registry=registry,
        )
        self.lag = Gauge(
            "dojo_streamer_lag_messages",
            "Events not yet acknowledged.",
            ["stream"],
            registry=registry,
        )
        self.age = Gauge(
            "dojo_streamer_freshness_seconds",
            "World seconds from the time the online store is complete up to, to now.",
            registry=registry,
        )
        self.write_seconds = Histogram(
            "dojo_streamer_write_seconds",
            "Wall time of writing one view's rows of one batch online.",
            buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5),
            registry=registry,
        )
