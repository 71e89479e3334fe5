"""The rollout controller's metrics (Prometheus)."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from dojo.core.judging.rollout.stages import CheckResult, Stage
from dojo.core.spec.schema import ModelSpec

# Causes of a failed round (loop.py).
CAUSES = ("redis", "registry", "unforeseen")

VERDICTS = {"ok": 1.0, "insufficient_data": 0.0, "failed": -1.0}


class RolloutMetrics:
    """The controller's metrics, all named dojo_rollout_*."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.check = Gauge(
            "dojo_rollout_check",
            "The latest verdict of each check: 1 ok, 0 insufficient_data, -1 failed.",
            ["model", "check"],
            registry=registry,
        )
        self.value = Gauge(
            "dojo_rollout_check_value",
            "What a check measured, in its own unit; absent without data.",
            ["model", "check"],
            registry=registry,
        )
        self.limit = Gauge(
            "dojo_rollout_check_limit",
            "What it is compared with, in its own unit; absent without data.",
            ["model", "check"],
            registry=registry,
        )
        self.requests = Gauge(
            "dojo_rollout_check_requests",
            "Requests of the challenger that a check's value rests on.",
            ["model", "check"],
            registry=registry,
        )
        self.evidence = Gauge(
            "dojo_rollout_check_evidence",
            "A sequential check's e-value as a share of the one that rolls back; at 1 it does.",
            ["model", "check"],
            registry=registry,
        )
        self.stage = Gauge(
            "dojo_rollout_stage",
            "1 for the stage that the rollout is in.",
            ["model", "stage"],
            registry=registry,
        )
        self.stage_age = Gauge(
            "dojo_rollout_stage_age_seconds",
            "World seconds since traffic followed the stage's route, or since the stage began.",
            ["model"],
            registry=registry,
        )
        self.stage_time = Gauge(
            "dojo_rollout_stage_time_seconds",
            "World seconds that the spec plans for a stage; it lasts longer while there is too"
            " little to judge.",
            ["model", "stage"],
            registry=registry,
        )
        self.started = Counter(
            "dojo_rollout_started_total", "Rollouts started.", ["model"], registry=registry
        )
        self.rolled_back = Counter(
            "dojo_rollout_rolled_back_total",
            "Rollouts that were rolled back.",
            ["model"],
            registry=registry,
        )
        self.errors = Counter(
            "dojo_rollout_errors_total",
            "Rounds that failed and are tried again, by cause.",
            ["model", "cause"],
            registry=registry,
        )
        self.look_seconds = Histogram(
            "dojo_rollout_look_seconds",
            "Wall time of one look: reading, judging and saving.",
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
            registry=registry,
        )

    def show_specs(self, specs: Mapping[str, ModelSpec]) -> None:
        """Export each spec's plan, and counters at 0.

        increase() does not see a counter's first step if the counter appears with it.
        """
        for name, spec in specs.items():
            policy = spec.rollout
            for stage, time in (
                (Stage.SHADOW, policy.shadow_time),
                (Stage.CANARY, policy.canary_time),
                (Stage.WATCH, policy.watch_time),
            ):
                self.stage_time.labels(name, stage.value).set(time.total_seconds())
            self.started.labels(name)
            self.rolled_back.labels(name)
            for cause in CAUSES:
                self.errors.labels(name, cause)

    def show_looks(self, model: str, looks: tuple[CheckResult, ...]) -> None:
        """Export the looks of a stage in place of the last stage's."""
        for gauge in (self.check, self.value, self.limit, self.requests, self.evidence):
            for known in [sample.labels for family in gauge.collect() for sample in family.samples]:
                if known["model"] == model and known["check"] not in {look.check for look in looks}:
                    gauge.remove(model, known["check"])
        for look in looks:
            labels = (model, look.check)
            self.check.labels(*labels).set(VERDICTS[look.verdict])
            self.requests.labels(*labels).set(look.requests)
            _set_or_remove(self.value, labels, look.value)
            _set_or_remove(self.limit, labels, look.limit)
            sequential = look.evidence is not None and look.stops_at is not None
            share = look.evidence / look.stops_at if sequential else None  # type: ignore[operator]
            _set_or_remove(self.evidence, labels, share)

    def show_stage(self, model: str, current: Stage, age: float | None) -> None:
        """Export the stage.

        Args:
            age: World seconds. None for an ended rollout.
        """
        for stage in Stage:
            self.stage.labels(model, stage.value).set(stage is current)
        if age is not None:
            self.stage_age.labels(model).set(age)


def _set_or_remove(gauge: Gauge, labels: tuple[str, str], value: float | None) -> None:
    if value is not None:
        gauge.labels(*labels).set(value)
    else:
        gauge.remove(*labels)
