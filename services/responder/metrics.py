"""The responder's metrics (Prometheus)."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import get_args

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge

from dojo.core.severity import Severity
from services.responder.state import ActionKind

# How actions end. A retraining that did not win has `no_effect`, like an evaluation without enough
# labels. A `dry_run` is only announced.
OUTCOMES = ("done", "no_effect", "failed", "dry_run")


class ResponderMetrics:
    """The responder's metrics, all named dojo_responder_*."""

    def __init__(self, models: Iterable[str], registry: CollectorRegistry = REGISTRY) -> None:
        self.actions = Counter(
            "dojo_responder_actions_total",
            "Actions by how they ended.",
            ["model", "action", "outcome"],
            registry=registry,
        )
        self.paused = Gauge(
            "dojo_responder_paused",
            "1 while actions are paused, for all models or any.",
            registry=registry,
        )
        self.state_lost = Gauge(
            "dojo_responder_state_lost",
            "1 while Redis has lost state and no person has answered it (dojo restore).",
            registry=registry,
        )
        self.in_flight = Gauge(
            "dojo_responder_in_flight",
            "Actions that have begun and not ended.",
            ["model"],
            registry=registry,
        )
        self.verdicts = Counter(
            "dojo_responder_verdicts_total",
            "Verdicts that were read.",
            ["model", "severity"],
            registry=registry,
        )
        self.lag = Gauge(
            "dojo_responder_lag_messages",
            "Messages not yet taken in.",
            ["stream"],
            registry=registry,
        )
        self.failures = Counter(
            "dojo_responder_failures_total",
            "Rounds that failed and are tried again.",
            ["cause"],
            registry=registry,
        )
        # Present before the first failure, because increase() would not see that one otherwise.
        for model in models:
            self.in_flight.labels(model).set(0)
            for action, outcome in product(get_args(ActionKind), OUTCOMES):
                self.actions.labels(model, action, outcome)
            for severity in get_args(Severity):
                self.verdicts.labels(model, severity)
        for cause in ("redis", "registry", "disk", "unforeseen"):
            self.failures.labels(cause)
