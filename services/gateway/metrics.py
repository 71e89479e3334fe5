"""The gateway's Prometheus metrics.

Labels are bounded. Their values are names of specs, served versions, and the reasons in this code.
"""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.utils import floatToGoString

from dojo.core.spec.schema import ModelSpec
from dojo.core.state.routes import Route
from feature_repo import catalog
from services.gateway.features.lookup import new_category
from services.gateway.histograms import DeferredHistogram
from services.gateway.sandbox import frames as sandbox_frames

# Finer around the 50 ms objective and the 15 ms target, so that these quantiles need no
# interpolation.
LATENCY_BUCKETS = (
    0.0005,
    0.001,
    0.002,
    0.003,
    0.005,
    0.0075,
    0.01,
    0.015,
    0.02,
    0.03,
    0.04,
    0.05,
    0.06,
    0.075,
    0.1,
    0.15,
    0.25,
    0.5,
)
# From the microseconds of one request alone to a lookup that meets its timeout.
LAYER_BUCKETS = (
    0.00001,
    0.000025,
    0.00005,
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.002,
    0.005,
    0.01,
    0.02,
    0.03,
    0.05,
    0.1,
)
# The parts of a request's time within the gateway. The rest is waiting for a turn, and HTTP.
LAYERS = ("decode", "lookup", "score", "log")
# Up to what starts a batch at once. A single request may have more.
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64)
# Fine at the low end for rare positives. Beyond 1 for scores in other units.
SCORE_BUCKETS = (
    0.001,
    0.003,
    0.01,
    0.03,
    0.1,
    0.2,
    0.3,
    0.5,
    0.7,
    0.9,
    1.0,
    3.0,
    10.0,
    30.0,
    100.0,
    300.0,
    1000.0,
)

# Label for models without a spec. It stops callers from inventing label values.
UNKNOWN_MODEL = "unknown"


# Labels that exist from the start, for the on-call engineer's alerts. A counter has no rate before
# it exists, so an alert on it would miss the first event.
CODES = ("200", "400", "413", "422", "500", "503")
REASONS = (
    "cold_start",
    "features_last_known",
    "features_default",
    "arm_failed",
    "model_unavailable",
)
SHED_REASONS = ("share", "class", "full")
SHADOW_LOSSES = ("buffer_full", "redis_away", "redis_refused")


class GatewayMetrics:
    """The gateway's metrics.

    Args:
        specs: The served models. Their objectives are exported, so that alerts need no copies.
    """

    def __init__(self, specs: Mapping[str, ModelSpec] | None = None) -> None:
        specs = specs or {}
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self.requests = Counter(
            "dojo_gateway_requests",
            "Prediction requests by HTTP status. A gRPC call counts with the status that HTTP would"
            " give. 499: its caller's deadline passed, or the caller left.",
            ["model", "code"],
            registry=registry,
        )
        self.latency = DeferredHistogram(
            "dojo_gateway_request_seconds",
            "Wall time of a prediction request, from its arrival to its answer.",
            ["model"],
            # Each objective is a bucket's edge, so the share of answers within it is exact.
            buckets=sorted({*LATENCY_BUCKETS, *(_seconds(spec) for spec in specs.values())}),
            registry=registry,
        )
        self.in_flight = Gauge(
            "dojo_gateway_in_flight_requests",
            "Prediction requests being answered.",
            registry=registry,
        )
        self.shed = Counter(
            "dojo_gateway_shed_requests",
            "Requests refused with 503 because too many were being answered, by the limit: of the"
            " model's own share, its latency class, or the full gateway.",
            ["model", "reason"],
            registry=registry,
        )
        self.predictions = Counter(
            "dojo_gateway_predictions",
            "Instances answered, by version.",
            ["model", "version", "arm"],
            registry=registry,
        )
        self.flagged = Counter(
            "dojo_gateway_flagged", "Instances flagged.", ["model", "version"], registry=registry
        )
        self.degraded = Counter(
            "dojo_gateway_degraded",
            "Instances answered with something missing, by reason.",
            ["model", "reason"],
            registry=registry,
        )
        self.score = DeferredHistogram(
            "dojo_prediction_score",
            "Scores answered.",
            ["model", "version"],
            buckets=SCORE_BUCKETS,
            registry=registry,
        )
        self.layers = DeferredHistogram(
            "dojo_gateway_layer_seconds",
            "Wall time of a request's layers: decode, lookup, score, log. Decoding gives checked"
            " instances. Lookups count also when they fail. Scoring makes input vectors and runs"
            " the model. Logging makes and counts the answers. Requests of one batch share its"
            " lookup and score.",
            ["model", "layer"],
            buckets=LAYER_BUCKETS,
            registry=registry,
        )
        self.cache_requests = Counter(
            "dojo_gateway_result_cache_requests",
            "Requests of a model with a result cache. hit: an earlier result answered. miss: there"
            " was none, or none that is young enough.",
            ["model", "outcome"],
            registry=registry,
        )
        self.cache_removed = Counter(
            "dojo_gateway_result_cache_removed",
            "Results that no longer answer. expired: too old. full: the room went to later ones."
            " route: other versions answer now.",
            ["model", "reason"],
            registry=registry,
        )
        self.cache_rows = Gauge(
            "dojo_gateway_result_cache_rows",
            "Instances whose results are kept for equal requests.",
            ["model"],
            registry=registry,
        )
        self.batch_rows = DeferredHistogram(
            "dojo_gateway_batch_rows",
            "Instances that shared a feature lookup, and a run where the version takes batches.",
            ["model"],
            buckets=BATCH_BUCKETS,
            registry=registry,
        )
        self.stale = Counter(
            "dojo_gateway_stale_features",
            "Values of a batch view served beyond its freshness SLA.",
            ["view"],
            registry=registry,
        )
        self.malformed_rows = Counter(
            "dojo_gateway_malformed_rows",
            "Rows in the online store that the present feature catalogue cannot have written.",
            registry=registry,
        )
        self.breaker_open = Gauge(
            "dojo_gateway_breaker_open",
            "1 while the online store's circuit breaker is open.",
            registry=registry,
        )
        self.breaker_opened = Counter(
            "dojo_gateway_breaker_opened", "Times the circuit breaker opened.", registry=registry
        )
        self.arm_failed = Counter(
            "dojo_gateway_arm_failed",
            "Instances that an arm could not score; another arm or the fallback answered.",
            ["model", "arm", "reason"],
            registry=registry,
        )
        self.model_info = Gauge(
            "dojo_model_info",
            "1 for the version that serves most of the traffic.",
            ["model", "version"],
            registry=registry,
        )
        self.route_generation = Gauge(
            "dojo_route_generation",
            "Generation of the route that serves; 0: no route, the registry's champion; or, after a"
            " start, the route's first arm alone until the others are there.",
            ["model"],
            registry=registry,
        )
        self.arm_weight = Gauge(
            "dojo_gateway_arm_weight",
            "Share of the live traffic of each arm of the serving route, a fraction; 0 for shadows"
            " and warm standbys.",
            ["model", "arm", "version"],
            registry=registry,
        )
        self.routes_refused = Counter(
            "dojo_gateway_routes_refused",
            "Malformed routes found in Redis and not served.",
            ["model"],
            registry=registry,
        )
        self.route_failures = Counter(
            "dojo_gateway_route_failures",
            "Attempts to serve a route that failed: a version could not be had, verified or"
            " started.",
            ["model"],
            registry=registry,
        )
        self.sandbox_restarts = Counter(
            "dojo_gateway_sandbox_restarts",
            "Times that a challenger's process was lost (or did not start again) and was started"
            " again.",
            ["model", "reason"],
            registry=registry,
        )
        self.shadow_written = Counter(
            "dojo_gateway_shadow_written",
            "Shadow events in the event log.",
            ["model"],
            registry=registry,
        )
        self.shadow_dropped = Counter(
            "dojo_gateway_shadow_dropped",
            "Mirrored instances lost: buffer full, or Redis away.",
            ["model", "reason"],
            registry=registry,
        )
        self.shadow_buffered = Gauge(
            "dojo_gateway_shadow_buffered",
            "Mirrored instances waiting for the shadow.",
            ["model"],
            registry=registry,
        )
        self.model_age = Gauge(
            "dojo_model_age_seconds",
            "World time since the serving version's training data ended.",
            ["model"],
            registry=registry,
        )
        self.model_rejected = Counter(
            "dojo_gateway_model_rejected",
            "Versions that failed verification and were not served.",
            ["model"],
            registry=registry,
        )
        self.registry_errors = Counter(
            "dojo_gateway_registry_errors",
            "Polls of the model registry that failed.",
            ["model"],
            registry=registry,
        )
        self.log_written = Counter(
            "dojo_prediction_log_written", "Prediction events in the event log.", registry=registry
        )
        self.log_dropped = Counter(
            "dojo_prediction_log_dropped",
            "Prediction events lost: buffer or spool full, or unreadable.",
            registry=registry,
        )
        self.log_buffered = Gauge(
            "dojo_prediction_log_buffered_events", "Prediction events in memory.", registry=registry
        )
        self.log_spooled = Gauge(
            "dojo_prediction_log_spooled_bytes", "Prediction events on disk.", registry=registry
        )
        self.spool_limit = Gauge(
            "dojo_prediction_log_spool_limit_bytes",
            "Disk that prediction events may take (DOJO_SPOOL_MAX_BYTES).",
            registry=registry,
        )
        self.background_errors = Counter(
            "dojo_gateway_background_errors",
            "Background tasks that failed and were started again.",
            ["task"],
            registry=registry,
        )

        self._objectives(specs)

    def _objectives(self, specs: Mapping[str, ModelSpec]) -> None:
        """Export the objectives of each spec, and every label that an alert needs."""
        latency = Gauge(
            "dojo_gateway_latency_objective_seconds",
            "The spec's serving.latency_slo; `le` is its bucket of dojo_gateway_request_seconds.",
            ["model", "le"],
            registry=self.registry,
        )
        objective = Gauge(
            "dojo_gateway_objective_ratio",
            "The spec's objectives over 30 days, fractions: requests answered (availability),"
            " answers within latency_slo (latency).",
            ["model", "objective"],
            registry=self.registry,
        )
        timeout = Gauge(
            "dojo_gateway_feature_timeout_seconds",
            "The spec's serving.feature_timeout: a lookup that takes longer is answered without.",
            ["model"],
            registry=self.registry,
        )
        for name, spec in specs.items():
            # Spelled like the histogram's label.
            edge = str(floatToGoString(_seconds(spec)))  # type: ignore[no-untyped-call]
            latency.labels(name, edge).set(_seconds(spec))
            objective.labels(name, "availability").set(spec.serving.availability_slo)
            objective.labels(name, "latency").set(spec.serving.latency_slo_share)
            timeout.labels(name).set(spec.serving.feature_timeout.total_seconds())
            for code in CODES:
                self.requests.labels(name, code)
            service = catalog.SERVICES.get(spec.feature_service)
            fields = service.request.categories if service is not None else ()
            for reason in (*REASONS, *(new_category(field) for field in fields)):
                self.degraded.labels(name, reason)
            self.model_rejected.labels(name)
            self.route_failures.labels(name)
            self.routes_refused.labels(name)
            for limit in SHED_REASONS:
                self.shed.labels(name, limit)
            for loss in SHADOW_LOSSES:
                self.shadow_dropped.labels(name, loss)
        for view in catalog.VIEWS.values():
            if view.kind == "batch":
                self.stale.labels(view.name)

    def answered(self, specs: Mapping[str, ModelSpec]) -> dict[str, tuple[int, ...]]:
        """Return what was counted of each model: requests, 5xx, answers, slow answers."""
        requests, errors = dict.fromkeys(specs, 0), dict.fromkeys(specs, 0)
        for sample in next(iter(self.requests.collect())).samples:
            model = sample.labels["model"]
            if sample.name.endswith("_total") and model in specs:
                requests[model] += int(sample.value)
                errors[model] += int(sample.value) * sample.labels["code"].startswith("5")
        found: dict[str, tuple[int, ...]] = {}
        for name, spec in specs.items():
            within, answers = self.latency.labels(name).within(_seconds(spec))
            found[name] = (requests[name], errors[name], answers, answers - within)
        return found

    def route_switched(self, before: Route | None, after: Route) -> None:
        if before is not None:
            self.model_info.remove(before.model, before.primary.version)
            for arm in before.arms:
                self.arm_weight.remove(before.model, arm.name, arm.version)
        self.model_info.labels(after.model, after.primary.version).set(1)
        for arm in after.arms:
            self.arm_weight.labels(after.model, arm.name, arm.version).set(arm.weight)
            for reason in sandbox_frames.REASONS:
                self.arm_failed.labels(after.model, arm.name, reason)
        self.route_generation.labels(after.model).set(after.generation)

    def breaker_changed(self, is_open: bool) -> None:
        self.breaker_open.set(int(is_open))
        if is_open:
            self.breaker_opened.inc()


def _seconds(spec: ModelSpec) -> float:
    return spec.serving.latency_slo.total_seconds()
