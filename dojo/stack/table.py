"""The table of processes: what runs in the stack, and how. One entry each, in the order in which they are shown.

A new process is three edits: its port in dojo/core/settings.py, its entry here, its container in docker-compose.yml.
Supervision and Prometheus' targets are made from this table. tests/unit/dojo/stack/test_one_list.py holds the rest to it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from dojo.core.settings import Settings, variable
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
        port: the port it listens on.
        depends_on: what it cannot do its work without. It is stopped before them, and not blamed while they are away.
        waits: whether it is also started only once they are healthy.
        grace: seconds from SIGTERM to SIGKILL.
        orderly: it ends what it started by itself, one after the other: only it gets the SIGTERM.
        metrics: it serves /metrics at its port, and Prometheus asks it.
        reads_specs: it reads models/ once, at its start.
        niceness: 0 to 19; how readily it leaves the processor to others. Batch work yields to whoever has a caller waiting.
    """

    name: str
    command: tuple[str, ...]
    health: HealthCheck
    address: str
    port: int
    depends_on: tuple[str, ...] = ()
    waits: bool = True
    patience: Patience = DEFAULT_PATIENCE
    grace: float = 10.0
    environment: Mapping[str, str] = field(default_factory=dict)
    niceness: int = 0
    orderly: bool = False
    metrics: bool = False
    reads_specs: bool = False

    @property
    def variable(self) -> str:
        """The setting that moves its port."""
        return variable(f"{self.name}_port")


def processes(settings: Settings) -> list[ProcessSpec]:
    """The stack for these settings.

    Not started: servers given by URL (DOJO_REDIS_URL, DOJO_MLFLOW_URL, DOJO_AIRFLOW_URL),
    names in DOJO_WITHOUT, and Prometheus and Alertmanager when they are not installed.
    """
    embedded = [
        *([] if settings.redis_url else [_redis(settings)]),
        *([] if settings.mlflow_url else [_mlflow(settings)]),
        *([] if settings.airflow_url or "airflow" in settings.without else [_airflow(settings)]),
    ]

    def service(name: str) -> ProcessSpec:
        """One of our own: `python -m services.<name>`, /healthz and /metrics on its port."""
        return ProcessSpec(
            name=name,
            command=(sys.executable, "-m", f"services.{name}"),
            health=HttpHealth(settings.peer(name), settings.port_of(name)),
            address=settings.url_of(name),
            port=settings.port_of(name),
            depends_on=("redis",),
            metrics=True,
        )

    ours = [
        # It serves from its cache without Redis and MLflow, after a restart too: it waits for neither.
        replace(
            service("gateway"),
            depends_on=("redis", "mlflow"),
            waits=False,
            environment=SERVING_ENVIRONMENT,
            reads_specs=True,
        ),
        replace(service("recorder"), niceness=BATCH_NICENESS),
        replace(service("streamer"), environment=SERVING_ENVIRONMENT),
        replace(service("materializer"), niceness=BATCH_NICENESS, reads_specs=True),
        # Retrains in Airflow, and without one in a process of its own.
        replace(service("trainer"), niceness=BATCH_NICENESS, reads_specs=True),
        # It takes failing versions away from traffic, so it is not nice. Without MLflow it goes on judging.
        replace(service("rollout"), reads_specs=True),
        # Judges hours of world time; seconds later is early enough for that, and MLflow is only asked about new versions.
        replace(service("monitor"), niceness=BATCH_NICENESS, reads_specs=True),
        # It rolls back what the monitor calls critical, so it is not nice. It sleeps nearly always.
        replace(service("responder"), reads_specs=True),
        # Last up and first down: payments without a gateway would only be errors.
        replace(service("simulator"), depends_on=("redis", "gateway"), reads_specs=True),
    ]

    def observability(name: str, tells: str) -> ProcessSpec:
        """A server that the machine brings. Not nice: it must not starve with what it watches.

        20 scrapes every 5 s are little work. A start replays its write-ahead log: seconds for a week's worth.
        """
        return replace(
            service(name),
            command=(sys.executable, "-m", "dojo.stack.observability", name),
            health=HttpHealth(settings.peer(name), settings.port_of(name), "/-/ready"),
            depends_on=(tells,),
            waits=False,
            reads_specs=name == "prometheus",  # owners of models, for its alerts
        )

    # Each starts without waiting for the others and stops before the process that it notifies.
    # So a shutdown raises no alert.
    alerting = [
        replace(service("receiver"), waits=False),
        observability("alertmanager", tells="receiver"),
        observability("prometheus", tells="alertmanager"),
    ]
    return only_known_dependencies(
        [*embedded, *ours, *(alerting if alerting_runs(settings) else [])]
    )


def _redis(settings: Settings) -> ProcessSpec:
    address = f"redis://{settings.own_host}:{settings.redis_port}/0"
    return ProcessSpec(
        name="redis",
        command=tuple(redis_command(settings.redis_port, settings.home / "redis", settings.host)),
        health=RedisPing(address),
        address=address,
        port=settings.redis_port,
        # Starting includes loading the append-only file: about 1 s per 200 MB.
        # A hanging Redis stalls every process: little patience.
        patience=Patience(starting=120, unhealthy=20),
    )


def _mlflow(settings: Settings) -> ProcessSpec:
    return ProcessSpec(
        name="mlflow",
        command=tuple(
            mlflow_command(
                settings.mlflow_port, settings.home / "mlflow", settings.host, settings.publish_as
            )
        ),
        health=HttpHealth(settings.own_host, settings.mlflow_port, "/health"),
        address=f"http://{settings.own_host}:{settings.mlflow_port}",
        port=settings.mlflow_port,
        # 15 s alone on two cores, and several times that while others start. Its first start makes its schema.
        # One worker: a long query blocks its health answer. Patience is long, because no caller waits for MLflow.
        patience=Patience(starting=180, unhealthy=60),
        environment=MLFLOW_ENVIRONMENT,
        niceness=BATCH_NICENESS,
    )


def _airflow(settings: Settings) -> ProcessSpec:
    return ProcessSpec(
        name="airflow",
        command=(sys.executable, "-m", "dojo.stack.airflow_server"),
        health=AirflowHealth(settings.own_host, settings.airflow_port),
        address=f"http://{settings.own_host}:{settings.airflow_port}",
        port=settings.airflow_port,
        # It starts before they are there: its tasks need Redis and MLflow, its components do not.
        depends_on=("redis", "mlflow"),
        waits=False,
        # 25 s alone on two cores, and several times that while others start.
        # Unhealthy: a heartbeat is old after 30 s already, and a restart costs a running task its work.
        patience=Patience(starting=240, unhealthy=90),
        grace=20.0,  # its launcher's 15 s, and a moment more
        orderly=True,
        niceness=BATCH_NICENESS,
    )


def only_known_dependencies(specs: list[ProcessSpec]) -> list[ProcessSpec]:
    """Dependencies that run elsewhere are not ours to wait for."""
    names = {spec.name for spec in specs}
    return [
        replace(spec, depends_on=tuple(d for d in spec.depends_on if d in names)) for spec in specs
    ]


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
            raise ValueError(
                "these processes depend on each other in a circle:"
                f" {', '.join(s.name for s in left)}"
            )
        groups.append(group)
        left = [spec for spec in left if spec not in group]
    return groups
