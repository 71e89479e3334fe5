"""The monitor's metrics."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from dojo.core.events.types import Stream
from dojo.core.severity import Severity

# Severities as numbers, so that rules can compare them. They are also exported, so that no rule
# needs a copy.
LEVELS: dict[Severity, int] = {
    "insufficient_data": -1,
    "ok": 0,
    "warning": 1,
    "severe": 2,
    "critical": 3,
}


class MonitorMetrics:
    """The monitor's metrics.

    Metrics about models are named for their measure, the others begin with dojo_monitor_.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._of_models(registry)
        self._of_the_monitor(registry)
        for name, number in LEVELS.items():
            self.severity_level.labels(name).set(number)
        for stream in (Stream.PREDICTIONS, Stream.OUTCOMES):
            for family in (self.events, self.duplicates, self.too_late):
                family.labels(stream)
        for cause in ("redis", "lease", "lake", "unforeseen"):
            self.failures.labels(cause)

    def _of_models(self, registry: CollectorRegistry) -> None:
        self.severity = Gauge(
            "dojo_monitor_severity",
            "The latest verdict of a check, the worst of the versions with traffic; windows without"
            " data leave trouble standing. dojo_monitor_severity_level has the numbers.",
            ["model", "check", "window"],
            registry=registry,
        )
        self.severity_level = Gauge(
            "dojo_monitor_severity_level",
            "The number that stands for a severity.",
            ["severity"],
            registry=registry,
        )
        self.psi = Gauge(
            "dojo_drift_psi",
            "PSI of a feature in the newest judged window, of the version with most traffic.",
            ["model", "feature", "window"],
            registry=registry,
        )
        self.noise = Gauge(
            "dojo_drift_noise",
            "What that PSI reaches by chance, for its rows.",
            ["model", "feature", "window"],
            registry=registry,
        )
        self.threshold = Gauge(
            "dojo_drift_threshold",
            "PSI from which on a severity begins.",
            ["model", "severity"],
            registry=registry,
        )
        self.value = Gauge(
            "dojo_monitor_value",
            "What another check measured in its newest judged window, in its own unit.",
            ["model", "check", "window", "subject"],
            registry=registry,
        )
        self.value_threshold = Gauge(
            "dojo_monitor_threshold",
            "The value from which on a severity of it begins.",
            ["model", "check", "severity"],
            registry=registry,
        )
        self.performance = Gauge(
            "dojo_performance",
            "How well a version does: live, expected, and on its holdout.",
            ["model", "version", "measure"],
            registry=registry,
        )
        self.maximum_age = Gauge(
            "dojo_model_maximum_age_seconds",
            "Age of a champion's training data from which on a severity begins, world seconds.",
            ["model", "severity"],
            registry=registry,
        )
        self.role_disagreement = Gauge(
            "dojo_role_disagreement",
            "1 while the route gives most of the traffic to another version than the champion; NaN"
            " while either is unknown.",
            ["model"],
            registry=registry,
        )
        self.registry_fault = Gauge(
            "dojo_registry_fault",
            "1 while something of a model is not as the platform left it in the registry; NaN while"
            " that is unknown.",
            ["model", "subject"],
            registry=registry,
        )
        self.feature_age = Gauge(
            "dojo_feature_age_seconds",
            "World time since a view's values were complete.",
            ["view"],
            registry=registry,
        )
        self.feature_sla = Gauge(
            "dojo_feature_sla_seconds",
            "The age beyond which they are stale.",
            ["view"],
            registry=registry,
        )
        self.verdicts = Counter(
            "dojo_monitor_verdicts_total",
            "Verdicts written to the event log.",
            ["model", "check", "severity"],
            registry=registry,
        )

    def _of_the_monitor(self, registry: CollectorRegistry) -> None:
        self.rows = Gauge(
            "dojo_monitor_rows",
            "Answers in the newest judged window, of all versions.",
            ["model", "window"],
            registry=registry,
        )
        self.judged_until = Gauge(
            "dojo_monitor_judged_until_timestamp_seconds",
            "End of the newest judged window, unix seconds of world time.",
            ["window"],
            registry=registry,
        )
        self.alive = Gauge(
            "dojo_monitor_alive_timestamp_seconds",
            "When a round went well last, unix seconds of wall time.",
            registry=registry,
        )
        self.lag = Gauge(
            "dojo_monitor_lag_messages",
            "Messages not yet in windows.",
            ["stream"],
            registry=registry,
        )
        self.events = Counter(
            "dojo_monitor_events_total", "Events counted in windows.", ["stream"], registry=registry
        )
        self.duplicates = Counter(
            "dojo_monitor_duplicates_total",
            "Events that had been counted before.",
            ["stream"],
            registry=registry,
        )
        self.too_late = Counter(
            "dojo_monitor_too_late_total",
            "Events that came when their day was closed.",
            ["stream"],
            registry=registry,
        )
        self.failures = Counter(
            "dojo_monitor_failures_total",
            "Rounds that failed and are repeated.",
            ["cause"],
            registry=registry,
        )
        self.look_seconds = Histogram(
            "dojo_monitor_look_seconds",
            "Wall time of judging the windows that were due.",
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10),
            registry=registry,
        )
