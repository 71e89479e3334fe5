"""The table of processes: what runs in the stack, and how. Entries stand in the order of display.

A new process is three edits:

- its port in dojo/core/settings.py,
- its entry here,
- its container in docker-compose.yml.

Supervision and Prometheus' targets are made from this table. The other lists are held to it by
tests/unit/dojo/stack/test_one_list.py.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from dojo.core.settings import Settings, port_field, variable
from dojo.stack.health import AirflowHealth, HealthCheck, HttpHealth, RedisPing
from dojo.stack.observability.installed import alerting_runs
from dojo.stack.servers import MLFLOW_ENVIRONMENT, mlflow_command, redis_command
from dojo.stack.supervisor.lifecycle import Patience

# One request scores one row. More BLAS and OpenMP threads only compete for the cores: the default
# gives a p99 of 50 ms.
SERVING_ENVIRONMENT = {"OMP_NUM_THREADS": "1"}

# For every process. Log lines appear when they are written, and no library reports to its makers.
# The rest gives freed memory back to the machine. By default, glibc keeps up to 16 heaps of
# threads, and Arrow and Polars keep what they freed. A stack without Airflow takes 0.11 GB less.
COMMON_ENVIRONMENT = {
    "PYTHONUNBUFFERED": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_TRIM_THRESHOLD_": "131072",  # bytes, glibc's default, which then no longer grows
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "_RJEM_MALLOC_CONF": "dirty_decay_ms:500,muzzy_decay_ms:0",  # Polars' allocator
}

# On two cores a materialisation would make a tenth of the feature lookups late. At niceness 10 a
# busy process gets a tenth of the time of a process at 0. When the others are idle, it gets all of
# it.
BATCH_NICENESS = 10

# Starting: `import feast` takes 8 s alone, and several times that while everything starts on two
# cores. Unhealthy: a process that is busy for half a minute may still come back. A hanging one has
# lost half a minute of work by then.
DEFAULT_PATIENCE = Patience(starting=90, unhealthy=30)


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One supervised process.

    Attributes:
        address: What a person opens or connects to.
        port: The port that it listens on.
        further_ports: Setting -> a port that it listens on besides.
        depends_on: Processes that its work needs. It is stopped before them, and not blamed while
            they are away.
        waits: Whether it is started only once these are healthy.
        grace: Seconds from SIGTERM to SIGKILL.
        orderly: Whether it ends its own children in order. Then only it gets the SIGTERM.
        metrics: Whether it serves /metrics at its port, for Prometheus.
        reads_specs: Whether it reads models/ once, at its start.
        niceness: How readily it leaves the processor to others, from 0 to 19 (last). Batch work
            yields to processes with a waiting caller.
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
    further_ports: Mapping[str, int] = field(default_factory=dict)

    @property
    def variable(self) -> str:
        """The setting that moves its port."""
        return variable(port_field(self.name))

    @property
    def ports(self) -> Mapping[str, int]:
        """Variable -> port, of all ports."""
        further = {variable(setting): port for setting, port in self.further_ports.items()}
        return {self.variable: self.port, **further}


def processes(settings: Settings) -> list[ProcessSpec]:
    """The stack for these settings.

    It leaves out each server with a URL of its own, such as DOJO_MLFLOW_URL. The Redis of a
    DOJO_REDIS_URL is the online store too, unless that has a URL. It leaves out the names in
    DOJO_WITHOUT. It leaves out Prometheus and Alertmanager when they are not installed.
    """
    embedded = [
        *([] if settings.redis_url else [_redis("redis", settings)]),
        *(
            []
            if settings.online_store_url or settings.redis_url
            else [_redis("redis-online", settings)]
        ),
        *([] if settings.mlflow_url else [_mlflow(settings)]),
        *([] if settings.airflow_url or "airflow" in settings.without else [_airflow(settings)]),
    ]

    def service(name: str) -> ProcessSpec:
        """One of the project's services: `python -m services.<name>`.

        It has /healthz and /metrics on its port.
        """
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
        # Without Redis and MLflow it serves from its cache, even after a restart. Without the
        # online store it uses last known values. So it waits for none of these.
        replace(
            service("gateway"),
            depends_on=("redis", "redis-online", "mlflow"),
            waits=False,
            environment=SERVING_ENVIRONMENT,
            reads_specs=True,
            further_ports={"gateway_grpc_port": settings.gateway_grpc_port},
            orderly=settings.gateway_workers > 1,  # their parent ends them
        ),
        replace(service("recorder"), niceness=BATCH_NICENESS),
        replace(
            service("streamer"),
            depends_on=("redis", "redis-online"),
            environment=SERVING_ENVIRONMENT,
        ),
        replace(
            service("materializer"),
            depends_on=("redis", "redis-online"),
            niceness=BATCH_NICENESS,
            reads_specs=True,
        ),
        # Retrains in Airflow, and without one in a process of its own.
        replace(service("trainer"), niceness=BATCH_NICENESS, reads_specs=True),
        # It takes failing versions away from traffic, so it is not nice. Without MLflow it goes on
        # judging.
        replace(service("rollout"), reads_specs=True),
        # It judges hours of world time, so some seconds later are early enough. It asks MLflow only
        # about new versions.
        replace(service("monitor"), niceness=BATCH_NICENESS, reads_specs=True),
        # It rolls back what the monitor calls critical, so it is not nice. It sleeps nearly always.
        replace(service("responder"), reads_specs=True),
        # Last up and first down: payments without a gateway would only be errors.
        replace(service("simulator"), depends_on=("redis", "gateway"), reads_specs=True),
    ]

    def observability(name: str, tells: str) -> ProcessSpec:
        """A server that the machine brings. It is not nice, because it watches starved processes.

        20 scrapes every 5 s are little work. A start replays the write-ahead log, which takes
        seconds for a week.
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


def _redis(name: str, settings: Settings) -> ProcessSpec:
    """`redis` holds the event log, the clock and all state. `redis-online` holds features.

    So a fault of the online store makes answers worse, and stops no clock and no record.
    """
    port = settings.port_of(name)
    address = f"redis://{settings.own_host}:{port}/0"
    return ProcessSpec(
        name=name,
        command=tuple(redis_command(port, settings.home / name, settings.host)),
        health=RedisPing(address),
        address=address,
        port=port,
        # Starting includes loading the append-only file: about 1 s per 200 MB.
        # A hanging Redis stalls every process that needs it: little patience.
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
        # 15 s alone on two cores, and several times that while others start. Its first start makes
        # its schema. It has one worker, so a long query blocks its health answer. Patience is long,
        # because no caller waits for MLflow.
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
        # Its components start without Redis and MLflow. Only its tasks need them.
        depends_on=("redis", "redis-online", "mlflow"),
        waits=False,
        # 25 s alone on two cores, and several times that while others start. Unhealthy: a heartbeat
        # is old after 30 s already, and a restart costs a running task its work.
        patience=Patience(starting=240, unhealthy=90),
        grace=20.0,  # its launcher's 15 s, and a moment more
        orderly=True,
        niceness=BATCH_NICENESS,
    )


def only_known_dependencies(specs: list[ProcessSpec]) -> list[ProcessSpec]:
    """Remove dependencies that run elsewhere. The supervisor does not wait for them."""
    names = {spec.name for spec in specs}
    return [
        replace(spec, depends_on=tuple(d for d in spec.depends_on if d in names)) for spec in specs
    ]


def stop_order(specs: list[ProcessSpec]) -> list[list[ProcessSpec]]:
    """Groups to stop one after the other, so that a process ends before its dependencies.

    Raises:
        ValueError: Processes depend on each other in a circle.
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
