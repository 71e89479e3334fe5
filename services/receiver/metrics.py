"""The metrics of the receiver."""

from __future__ import annotations

import math

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge


class ReceiverMetrics:
    """The receiver's metrics, all named dojo_receiver_*."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.alerts = Counter(
            "dojo_receiver_alerts_total",
            "Alerts that arrived, repetitions included.",
            ["receiver", "status"],
            registry=registry,
        )
        self.undelivered = Counter(
            "dojo_receiver_undelivered_total",
            "Attempts to put something into the inbox that failed; each is repeated.",
            registry=registry,
        )
        self.watchdog = Gauge(
            "dojo_receiver_watchdog_timestamp_seconds",
            "Wall time of the watchdog's last sign of life, unix seconds; 0 before the first.",
            registry=registry,
        )
        self.silences = Gauge(
            "dojo_receiver_silences",
            "Active silences of Alertmanager that may hide a critical alert, or are older than a"
            " day; NaN while it does not answer.",
            ["reason"],
            registry=registry,
        )
        for reason in ("critical", "old"):
            self.silences.labels(reason).set(math.nan)
        for receiver in ("chat", "pager"):
            for status in ("firing", "resolved"):
                self.alerts.labels(receiver, status)
        self.alerts.labels("watchdog", "firing")
