"""What the monitor exports."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from dojo.events import Severity, Stream

# Severities as numbers, so that rules can compare; exported too, so that no rule has a copy of them.
LEVELS: dict[Severity, int] = {"insufficient_data": -1, "ok": 0, "warning": 1, "severe": 2, "critical": 3}


class Metrics:
    """The monitor's metrics. Those about models are named for what they measure, the others dojo_monitor_*."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(name, text, list(labels), registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, list(labels), registry=registry)

        self.severity = gauge(
            "dojo_monitor_severity",
            "The latest verdict of a check, the worst of the versions with traffic; dojo_monitor_severity_level has the numbers.",
            "model", "check", "window",
        )  # fmt: skip
        self.severity_level = gauge("dojo_monitor_severity_level", "The number that stands for a severity.", "severity")
        for name, number in LEVELS.items():
            self.severity_level.labels(name).set(number)
        self.psi = gauge(
            "dojo_drift_psi", "PSI of a feature in the newest judged window, of the version with most traffic.",
            "model", "feature", "window",
        )  # fmt: skip
        self.noise = gauge("dojo_drift_noise", "What that PSI reaches by chance, for its rows.", "model", "feature", "window")
        self.threshold = gauge("dojo_drift_threshold", "PSI from which on a severity begins.", "model", "severity")
        self.value = gauge(
            "dojo_monitor_value", "What another check measured in its newest judged window, in its own unit.",
            "model", "check", "window", "subject",
        )  # fmt: skip
        self.value_threshold = gauge(
            "dojo_monitor_threshold",
            "The value from which on a severity of it begins.",
            "model",
            "check",
            "severity",
        )
        self.performance = gauge(
            "dojo_performance", "How well a version does: live, expected, and on its holdout.", "model", "version", "measure"
        )
        self.maximum_age = gauge(
            "dojo_model_maximum_age_seconds", "Age of a champion's training data from which on a severity begins.",
            "model", "severity",
        )  # fmt: skip
        self.feature_age = gauge("dojo_feature_age_seconds", "World time since a view's values were complete.", "view")
        self.feature_sla = gauge("dojo_feature_sla_seconds", "The age beyond which they are stale.", "view")
        self.rows = gauge("dojo_monitor_rows", "Answers in the newest judged window, of all versions.", "model", "window")
        self.judged_until = gauge(
            "dojo_monitor_judged_until_timestamp_seconds", "End of the newest judged window, unix seconds of world time.",
            "window",
        )  # fmt: skip
        self.alive = gauge("dojo_monitor_alive_timestamp_seconds", "When a round went well last, unix seconds of wall time.")
        self.lag = gauge("dojo_monitor_lag_messages", "Messages not yet in windows.", "stream")
        self.events = counter("dojo_monitor_events", "Events counted in windows.", "stream")
        self.duplicates = counter("dojo_monitor_duplicates", "Events that had been counted before.", "stream")
        self.too_late = counter("dojo_monitor_too_late", "Events that came after their window was closed for good.", "stream")
        self.rejected = counter("dojo_monitor_rejected", "Messages set aside (dojo drift rejected).", "stream")
        for stream in (Stream.PREDICTIONS, Stream.OUTCOMES):
            for family in (self.events, self.duplicates, self.too_late, self.rejected):
                family.labels(stream)
        self.failures = counter("dojo_monitor_failures", "Rounds that failed and are repeated.", "cause")
        for cause in ("redis", "lease", "lake", "unforeseen"):
            self.failures.labels(cause)
        self.verdicts = counter("dojo_monitor_verdicts", "Verdicts written to the event log.", "model", "check", "severity")
        self.look_seconds = Histogram(
            "dojo_monitor_look_seconds", "Wall time of judging the windows that were due.",
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10), registry=registry,
        )  # fmt: skip
