"""The gateway's composition root: builds the FastAPI application and its background tasks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import structlog
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from dojo import __version__
from dojo.core.keys import time_key
from dojo.core.registry.bundle import CorruptBundleError
from dojo.core.registry.versions import ModelRegistry
from dojo.core.settings import Settings
from dojo.core.spec.serving import LatencyClass
from dojo.core.tasks.specs import task_of
from feature_repo import specs as model_specs
from services.gateway.budgets import ErrorBudgets
from services.gateway.clock import GatewayClock
from services.gateway.features.breaker import CircuitBreaker
from services.gateway.features.lookup import FeatureSource
from services.gateway.features.online_store import EntityHashReader
from services.gateway.features.redis_client import RedisClient
from services.gateway.heap import freeze_heap
from services.gateway.http import api, docs, v2
from services.gateway.http.admission import Admission
from services.gateway.http.api import DirectPaths, Endpoint, Gateway
from services.gateway.logging.prediction_log import PredictionLog
from services.gateway.logging.spool import Spool
from services.gateway.messages.answers import AnswerLog, AnswerSchema
from services.gateway.messages.requests import InstanceSchema
from services.gateway.metrics import GatewayMetrics
from services.gateway.predictor import Predictor
from services.gateway.routing.route_table import RouteFollower
from services.gateway.routing.shadow import ShadowMirror
from services.gateway.rpc.server import GrpcDoor
from services.gateway.state import GatewayState, OwnState, SharedState
from services.gateway.time_guard import TimeGuard
from services.gateway.versions.models import Models
from services.gateway.versions.registry_feed import RegistryFeed
from services.gateway.versions.scoring import ArmScorer
from services.gateway.versions.version_store import VersionStore

# MLflow answers in milliseconds, and downloads are about 1 MB. There is one try, because the next
# round is the retry.
REGISTRY_TIMEOUT_SECONDS = 5
# Pause before a failed background task starts again, so that a lasting fault does not fill the log.
RESTART_SECONDS = 1.0
# Start-up waits this long for Redis, so that the first request finds it. Serving works without it.
FIRST_CONNECTION_SECONDS = 1.0
MODEL_AGE_EVERY_SECONDS = 5.0
SPEC_FILES_EVERY_SECONDS = 5.0

_log = structlog.get_logger("gateway")


def build(settings: Settings, directory: Path, shared: SharedState | None = None) -> DirectPaths:
    """Return the application.

    Args:
        directory: Of this process, for its cached versions, routes, clock and spool.
        shared: The state of all workers. None when this process is the whole gateway.

    Raises:
        SpecError: No model's spec is right.
    """
    loaded = model_specs.load(settings)
    specs = loaded.specs
    metrics = GatewayMetrics(specs)
    in_use = model_specs.in_use(settings, loaded, metrics.registry)
    metrics.spool_limit.set(settings.spool_max_bytes)
    # Two connections even to one Redis, so that a large batch of events delays no feature lookup.
    features_client, events_client = RedisClient(settings.online_store), RedisClient(settings.redis)
    breaker = CircuitBreaker(_logged(metrics.breaker_changed))
    store = EntityHashReader(features_client, breaker, metrics.malformed_rows.inc)
    features = FeatureSource(store)
    clock = GatewayClock(events_client, directory / "clock.json")
    log = PredictionLog(
        events_client,
        Spool(directory / "spool", settings.spool_max_bytes),
        settings.stream_max_length,
        metrics,
    )
    registry = ModelRegistry.of(settings, REGISTRY_TIMEOUT_SECONDS, retries=0)
    store_of_versions = VersionStore(specs, directory / "models", registry, _rejected(metrics))
    models = Models(specs, store_of_versions, metrics, settings.slow_scoring_seconds)
    routes = RouteFollower(events_client, models, list(specs), directory / "routes", metrics)
    feed = RegistryFeed(
        models, store_of_versions, list(specs), settings.registry_poll_seconds, metrics
    )
    endpoints, mirrors = {}, {}
    for name, spec in specs.items():
        schema = InstanceSchema(spec)
        mirrors[name] = ShadowMirror(
            spec, features, events_client, settings.stream_max_length, metrics
        )
        answers = AnswerSchema(name, task_of(spec), repeats=spec.result_cache is not None)
        scorer, answer_log = (
            ArmScorer(spec, features, metrics, (*schema.numbers, *schema.categories)),
            AnswerLog(name, answers, log.append, metrics),
        )
        predictor = Predictor(spec, schema, scorer, clock, answer_log, mirrors[name].offer, metrics)
        endpoints[name] = Endpoint(schema, answers, predictor)
    times = TimeGuard(clock, timedelta(seconds=settings.time_tolerance_seconds), time_key(settings))
    rooms: dict[LatencyClass, float] = {
        "fast": 1.0,
        "standard": settings.standard_room,
        "batch": settings.batch_room,
    }
    admission = Admission(specs, settings.max_in_flight, rooms, metrics)
    gateway = Gateway(
        endpoints,
        models,
        metrics,
        times,
        settings.max_body_bytes,
        admission,
        loaded.faults,
    )

    budgets = ErrorBudgets(specs, metrics, events_client, clock)

    def model_details() -> Mapping[str, object]:
        return {
            name: {
                **models.details(name),
                "registry": feed.states[name],
                "refused_route": routes.refused.get(name),
            }
            for name in specs
        } | {name: {"version": None, "spec": fault} for name, fault in loaded.faults.items()}

    def details() -> Mapping[str, object]:
        return {
            "online_store": "breaker open" if breaker.is_open else "ok",
            "world_clock": clock.now().isoformat() if clock.is_set else "not set yet",
            "specs": in_use.latest,
            **log.details,
        }

    own = OwnState(details, model_details, lambda: models.ready, metrics.registry)
    state: GatewayState = shared or own
    grpc_door = GrpcDoor(gateway, state)

    async def model_ages() -> None:
        while True:
            for name, route in models.serving.items():
                trained_as_of = route.primary.served.bundle.trained_as_of
                metrics.model_age.labels(name).set((clock.now() - trained_as_of).total_seconds())
            await asyncio.sleep(MODEL_AGE_EVERY_SECONDS)

    async def spec_files() -> None:
        while True:
            # Reading an edited file takes 100 ms. Requests must not wait for it.
            await asyncio.to_thread(in_use.look)
            await asyncio.sleep(SPEC_FILES_EVERY_SECONDS)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        metrics.in_flight.set_function(lambda: admission.in_flight)
        if shared is not None:
            await shared.join(own)
        await routes.restore()
        tasks = [
            _keep_running(name, run, metrics)
            for name, run in {
                "features_connection": features_client.run,
                "events_connection": events_client.run,
                "breaker_probe": store.run,
                "world_clock": clock.run,
                "model_ages": model_ages,
                "spec_files": spec_files,
                "error_budgets": budgets.run,
                "model_registry": feed.run,
                **{f"shadow_{name}": mirror.run for name, mirror in mirrors.items()},
            }.items()
        ]
        writer = _keep_running("prediction_log", log.run, metrics)
        await _first_connection(features_client, events_client)
        await clock.refresh()
        await routes.refresh()  # the first request finds the route if its versions are cached
        tasks.append(_keep_running("routes", routes.run, metrics))
        freeze_heap()
        await grpc_door.open(
            settings.host, settings.gateway_grpc_port, is_shared=shared is not None
        )
        own.serving = True
        _log.info("ready for requests", port=settings.gateway_port, grpc=settings.gateway_grpc_port)
        if shared is not None:
            shared.report()
        yield
        await grpc_door.close()
        log.stop()  # uvicorn has answered its last request, and so has gRPC
        await writer
        await budgets.write()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await models.close()
        if shared is not None:
            shared.report()  # the parent keeps the last counts
        _log.info("stopped", **log.details)

    app = FastAPIOffline(
        title="MLOps Dojo gateway",
        version=__version__,
        description=(
            "Online predictions: features by entity key, versions by the model's route, every"
            " answer logged, every degradation named."
        ),
        lifespan=lifespan,
    )
    api.add_routes(app, gateway, state)
    v2.add_routes(app, gateway, state)
    app.openapi = docs.completed(app.openapi, endpoints)  # type: ignore[method-assign]
    api.add_error_handlers(app)
    return api.direct_paths(app, gateway)


def _rejected(metrics: GatewayMetrics) -> Callable[[str, str, CorruptBundleError], None]:
    def rejected(model: str, version: str, error: CorruptBundleError) -> None:
        metrics.model_rejected.labels(model).inc()
        _log.error(
            "version rejected, it will not be served",
            model=model,
            version=version,
            reason=str(error),
        )

    return rejected


def _keep_running(
    name: str, run: Callable[[], Awaitable[None]], metrics: GatewayMetrics
) -> asyncio.Task[None]:
    """Run a background task and start it again after each failure."""
    failures = metrics.background_errors.labels(name)

    async def forever() -> None:
        while True:
            try:
                await run()
            except Exception:
                failures.inc()
                _log.exception("a background task failed and starts again", task=name)
                await asyncio.sleep(RESTART_SECONDS)
            else:
                return

    return asyncio.create_task(forever(), name=name)


async def _first_connection(*clients: RedisClient) -> None:
    try:
        async with asyncio.timeout(FIRST_CONNECTION_SECONDS):
            while not all(client.connected for client in clients):
                await asyncio.sleep(0.01)
    except TimeoutError:
        _log.warning("Redis is not there; serving without stored features until it is")


def _logged(changed: Callable[[bool], None]) -> Callable[[bool], None]:
    def log_and_tell(is_open: bool) -> None:
        changed(is_open)
        if is_open:
            _log.warning("online store does not answer: circuit breaker open")
        else:
            _log.info("online store answers again: circuit breaker closed")

    return log_and_tell
