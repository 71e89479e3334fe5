"""The table of what runs in the embedded stack, and how. One entry per process, in the order in which they are shown."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from dojo.core.settings import Settings
from dojo.stack.health import AirflowHealth, HealthCheck, HttpHealth, RedisPing
from dojo.stack.observability.installed import alerting_runs
from dojo.stack.servers import MLFLOW_ENVIRONMENT, mlflow_command, redis_command
from dojo.stack.supervisor.lifecycle import Patience

# One request scores one row: BLAS and OpenMP threads only get in each other's way (a 50 ms p99 with the default).
SERVING_ENVIRONMENT = {"OMP_NUM_THREADS": "1"}

# For every process: log lines appear when they are written, and nothing reports to its makers.
COMMON_ENVIRONMENT = {"PYTHONUNBUFFERED": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}

# On two cores a materialisation would make a tenth of the feature lookups of those seconds late. At 10 a busy process gets a tenth of
# what one at 0 gets, and everything when nobody else wants it.
BATCH_NICENESS = 10

# Starting: `import feast` takes 8 s alone and several times that while everything starts on two cores. Unhealthy: a process
# that is busy for half a minute may still come back, one that is not has lost half a minute of work.
DEFAULT_PATIENCE = Patience(starting=90, unhealthy=30)


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One supervised process.

    Attributes:
        address: what a person opens or connects to.
        port, variable: the port it listens on and the setting that moves it.
        depends_on: what it cannot do its work without. It is stopped before them, and not blamed while they are away.
        waits: whether it is also started only once they are healthy.
        grace: seconds from SIGTERM to SIGKILL.
        orderly: it ends what it started by itself, one after the other: only it gets the SIGTERM.
        metrics: it serves /metrics at its port, and Prometheus asks it.
        niceness: 0 to 19; how readily it leaves the processor to others. Batch work yields to whoever has a caller waiting.
    """

    name: str
    command: tuple[str, ...]
    health: HealthCheck
    address: str
    port: int
    variable: str
    depends_on: tuple[str, ...] = ()
    waits: bool = True
    patience: Patience = DEFAULT_PATIENCE
    grace: float = 10.0
    environment: Mapping[str, str] = field(default_factory=dict)
    niceness: int = 0
    orderly: bool = False
    metrics: bool = False


def processes(settings: Settings) -> list[ProcessSpec]:
    """The stack for these settings. What runs elsewhere (DOJO_REDIS_URL, DOJO_MLFLOW_URL,
    DOJO_AIRFLOW_URL) is not started, nor what DOJO_WITHOUT names, nor
    Prometheus and Alertmanager on a machine that has them not."""
    host = settings.host

    def module(
        name: str,
        port: int,
        *,
        module: str | None = None,
        depends_on: tuple[str, ...] = ("redis",),
        waits: bool = True,
        environment: Mapping[str, str] | None = None,
        niceness: int = 0,
    ) -> ProcessSpec:
        """One of our own: `python -m services.<name>`, /healthz on its port."""
        return ProcessSpec(
            name=name,
            command=(sys.executable, "-m", module or f"services.{name}"),
            health=HttpHealth(settings.peer(name), port),
            address=settings.url_of(name),
            port=port,
            variable=f"DOJO_{name.upper()}_PORT",
            depends_on=depends_on,
            waits=waits,
            environment=environment or {},
            niceness=niceness,
            metrics=True,
        )

    def observability(name: str, port: int, depends_on: tuple[str, ...]) -> ProcessSpec:
        """A server that the machine brings. Not nice: what watches must not starve with what it watches, and 20 scrapes every 5 s are
        nothing to yield for. A start replays its write-ahead log: seconds for a week's worth."""
        return ProcessSpec(
            name=name,
            command=(sys.executable, "-m", "dojo.stack.observability", name),
            health=HttpHealth(settings.peer(name), port, "/-/ready"),
            address=settings.url_of(name),
            port=port,
            variable=f"DOJO_{name.upper()}_PORT",
            depends_on=depends_on,
            waits=False,
            metrics=True,
        )

    def redis() -> ProcessSpec:
        return ProcessSpec(
            name="redis",
            command=tuple(redis_command(settings.redis_port, settings.home / "redis", host)),
            health=RedisPing(f"redis://{host}:{settings.redis_port}/0"),
            address=f"redis://{host}:{settings.redis_port}/0",
            port=settings.redis_port,
            variable="DOJO_REDIS_PORT",
            # Starting includes loading the append-only file: about 1 s per 200 MB. Hanging, it stalls everybody: little patience.
            patience=Patience(starting=120, unhealthy=20),
        )

    def mlflow() -> ProcessSpec:
        return ProcessSpec(
            name="mlflow",
            command=tuple(mlflow_command(settings.mlflow_port, settings.home / "mlflow", host)),
            health=HttpHealth(host, settings.mlflow_port, "/health"),
            address=f"http://{host}:{settings.mlflow_port}",
            port=settings.mlflow_port,
            variable="DOJO_MLFLOW_PORT",
            # 15 s alone on two cores, several times that while others start, and more on its first start: it makes its schema.
            # One worker: a long query blocks its health answer, so patience is long; nobody is served by MLflow.
            patience=Patience(starting=180, unhealthy=60),
            environment=MLFLOW_ENVIRONMENT,
            niceness=BATCH_NICENESS,
        )

    def airflow() -> ProcessSpec:
        return ProcessSpec(
            name="airflow",
            command=(sys.executable, "-m", "dojo.stack.airflow_server"),
            health=AirflowHealth(host, settings.airflow_port),
            address=f"http://{host}:{settings.airflow_port}",
            port=settings.airflow_port,
            variable="DOJO_AIRFLOW_PORT",
            # It starts while nobody is there yet: its tasks need Redis and MLflow, its components do not.
            depends_on=("redis", "mlflow"),
            waits=False,
            # 25 s alone on two cores, several times that while others start. Unhealthy: a heartbeat is old after 30 s already, and a
            # restart costs a running task its work.
            patience=Patience(starting=240, unhealthy=90),
            grace=20.0,  # its launcher's 15 s, and a moment more
            orderly=True,
            niceness=BATCH_NICENESS,
        )

    ours = [
        # The gateway serves from its cache without Redis and MLflow, after a restart too: it waits for nobody.
        module("gateway", settings.gateway_port, depends_on=("redis", "mlflow"), waits=False, environment=SERVING_ENVIRONMENT),
        module("recorder", settings.recorder_port, niceness=BATCH_NICENESS),
        module("streamer", settings.streamer_port, environment=SERVING_ENVIRONMENT),
        module("materializer", settings.materializer_port, niceness=BATCH_NICENESS),
        # Retrains in Airflow, and without one in a process of its own.
        module("trainer", settings.trainer_port, niceness=BATCH_NICENESS),
        # It takes failing versions away from traffic, so it yields to nobody. Without MLflow it goes on judging.
        module("rollout", settings.rollout_port),
        # Judges hours of world time; seconds later is early enough for that, and MLflow is only asked about new versions.
        module("monitor", settings.monitor_port, niceness=BATCH_NICENESS),
        # Rolls back what the monitor calls critical, so it yields to nobody; it sleeps nearly always.
        module("responder", settings.responder_port),
        # Last up and first down: payments without a gateway would only be errors.
        module("simulator", settings.simulator_port, depends_on=("redis", "gateway")),
    ]
    # Each waits for nobody, and ends before whom it tells: a stack that goes down alerts nobody.
    alerting = [
        module("receiver", settings.receiver_port, waits=False),
        observability("alertmanager", settings.alertmanager_port, ("receiver",)),
        observability("prometheus", settings.prometheus_port, ("alertmanager",)),
    ]
    embedded = [
        *([] if settings.redis_url else [redis()]),
        *([] if settings.mlflow_url else [mlflow()]),
        *([] if settings.airflow_url or "airflow" in settings.without else [airflow()]),
    ]
    return only_known_dependencies([*embedded, *ours, *(alerting if alerting_runs(settings) else [])])


def only_known_dependencies(specs: list[ProcessSpec]) -> list[ProcessSpec]:
    """Dependencies that run elsewhere are not ours to wait for."""
    names = {spec.name for spec in specs}
    return [replace(spec, depends_on=tuple(d for d in spec.depends_on if d in names)) for spec in specs]


def stop_order(specs: list[ProcessSpec]) -> list[list[ProcessSpec]]:
    """Groups to stop one after the other: nobody loses what it depends on before it has ended itself.

    Raises:
        ValueError: processes depend on each other in a circle.
    """
    groups: list[list[ProcessSpec]] = []
    left = list(specs)
    while left:
        needed = {dependency for spec in left for dependency in spec.depends_on}
        group = [spec for spec in left if spec.name not in needed]
        if not group:
            raise ValueError(f"these processes depend on each other in a circle: {', '.join(s.name for s in left)}")
        groups.append(group)
        left = [spec for spec in left if spec not in group]
    return groups
