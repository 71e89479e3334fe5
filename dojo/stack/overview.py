"""The state that `dojo status` shows beside the processes: world time, freshness, champions.

It never waits long for an answer.
"""

from __future__ import annotations

import http.client
from collections.abc import Sequence
from datetime import datetime, timedelta
from urllib.parse import urlencode, urlsplit

import msgspec
from redis.exceptions import RedisError

from dojo.core.airflow_access import airflow_access
from dojo.core.connections import connect_redis
from dojo.core.registry.versions import CHAMPION
from dojo.core.settings import Settings
from dojo.core.spec.names import WRONG, model_names
from dojo.core.state.clock import ClockNotSetError, RedisWorldClock
from dojo.core.state.freshness import State, ViewFreshness, read_freshness
from dojo.core.state.loss import held_back
from dojo.core.state.registry_faults import RegistryFault, registry_faults
from dojo.core.state.routes import InvalidRouteError, RouteTable
from dojo.stack.observability.installed import alerting_is_off
from dojo.stack.status import StackStatus

ANSWER_SECONDS = 2.0

UNKNOWN = "?"  # the champion while MLflow is away


class StackState(msgspec.Struct, frozen=True):
    """The world's clock.

    Attributes:
        time: UTC.
        speed: World seconds per wall second. Paused is 0.
        standstill_seconds: How long time has stood still although it is not paused, wall seconds.
    """

    time: datetime
    speed: float
    standstill_seconds: float = 0.0


class Freshness(msgspec.Struct, frozen=True):
    """How far one feature view's values reach in world time, and whether this meets its SLA."""

    as_of: datetime
    age_seconds: float
    sla_seconds: float
    state: State


class AirflowLogin(msgspec.Struct, frozen=True):
    """Where Airflow's UI is and how to log in.

    Attributes:
        password: Empty for an Airflow elsewhere, and before the embedded one has made its own.
    """

    url: str
    user: str
    password: str


class Overview(msgspec.Struct, frozen=True):
    """The stack and the state of its world.

    Attributes:
        world: None before the world's history is built, or while Redis is away.
        features: Freshness by view. Views that were never written are missing.
        lost: What Redis has lost, until a person answers it. "" for nothing.
        champions: The registry's champion by model. None for no version, UNKNOWN while MLflow is
            away.
        serving: The version with most of the traffic, by model. Models without a route are left
            out.
        registry: Changes made in MLflow directly, by model, as the monitor found them.
        alerts_off: Why no alert is sent. Empty when Prometheus and Alertmanager run.
        specs: Processes that started with another spec than the file has now, by model. Models
            without such a process are left out.
        airflow: None when the stack is run without.
    """

    stack: StackStatus
    world: StackState | None
    features: dict[str, Freshness]
    lost: str
    champions: dict[str, str | None]
    serving: dict[str, str]
    registry: dict[str, tuple[RegistryFault, ...]]
    specs: dict[str, list[str]]
    left_out: dict[str, str]
    airflow: AirflowLogin | None
    alerts_off: str


def look(stack: StackStatus, settings: Settings) -> Overview:
    world, features, lost = read_state(settings.redis)
    champions = read_champions(settings)
    serving, faults = read_standing(settings.redis, list(champions))
    return Overview(
        stack=stack,
        world=world,
        features=features,
        lost=lost,
        champions=champions,
        serving=serving,
        registry=faults,
        specs=outdated(stack),
        left_out=left_out(stack),
        airflow=airflow_login(settings),
        alerts_off=alerts_off(stack, settings),
    )


def outdated(stack: StackStatus) -> dict[str, list[str]]:
    """By model, the processes that started with another spec than the file has now.

    The processes report this themselves.
    """
    found: dict[str, list[str]] = {}
    for process in stack.processes:
        for model, spec in process.details.get("specs", {}).items():
            if "file" in spec:
                found.setdefault(model, []).append(process.name)
    return found


def left_out(stack: StackStatus) -> dict[str, str]:
    """By model, what was wrong with its spec when the processes started."""
    return {
        model: spec["read"]
        for process in stack.processes
        for model, spec in process.details.get("specs", {}).items()
        if spec["read"].startswith(WRONG)
    }


def alerts_off(stack: StackStatus, settings: Settings) -> str:
    """Why alerting is off.

    The running processes decide, because Prometheus may be installed after the stack was started.
    """
    if any(process.name == "prometheus" for process in stack.processes):
        return ""
    return alerting_is_off(settings) or "installed since: dojo down, then dojo up"


def airflow_login(settings: Settings) -> AirflowLogin | None:
    """How to log in. The embedded Airflow's password belongs to this machine, so it is shown."""
    access = airflow_access(settings)
    if access is None:
        return None
    password = "" if settings.airflow_url else access.password
    return AirflowLogin(access.url, access.user, password)


def read_state(redis_url: str) -> tuple[StackState | None, dict[str, Freshness], str]:
    """The clock, each view's freshness by it, and what Redis has lost.

    Without a clock there is no freshness.
    """
    client, lost = connect_redis(redis_url, timedelta(seconds=ANSWER_SECONDS)), ""
    try:
        lost = held_back(client)
        clock = RedisWorldClock(client)
        world = StackState(clock.now(), clock.speed(), clock.standstill().total_seconds())
        fresh = {
            name: _freshness(view, world.time)
            for name, view in sorted(read_freshness(client).items())
        }
        return world, fresh, lost
    except (ClockNotSetError, RedisError):
        return None, {}, lost
    finally:
        client.close()


def read_standing(
    redis_url: str, models: Sequence[str]
) -> tuple[dict[str, str], dict[str, tuple[RegistryFault, ...]]]:
    """Which version answers by the routes, and which registry changes the monitor found.

    Empty while Redis is away.
    """
    client = connect_redis(redis_url, timedelta(seconds=ANSWER_SECONDS))
    serving, faults = {}, {}
    try:
        for model in models:
            if (route := RouteTable(client).get(model)) is not None:
                serving[model] = route.primary.version
            if (found := registry_faults(client, model).get()) is not None and found.faults:
                faults[model] = found.faults
    except (RedisError, msgspec.MsgspecError, InvalidRouteError):
        return {}, {}
    finally:
        client.close()
    return serving, faults


def _freshness(view: ViewFreshness, now: datetime) -> Freshness:
    return Freshness(view.as_of, view.age(now).total_seconds(), view.sla_seconds, view.state(now))


def read_champions(settings: Settings) -> dict[str, str | None]:
    """Asks MLflow over plain HTTP. Importing its client takes longer than the rest of a status."""
    return {
        model: _champion(model, settings.mlflow)
        for model in model_names(settings.models_dir, settings.models)
    }


def _champion(model: str, mlflow_url: str) -> str | None:
    address = urlsplit(mlflow_url)
    kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
    connection = kind(address.netloc, timeout=ANSWER_SECONDS)
    try:
        query = urlencode({"name": model, "alias": CHAMPION})
        connection.request("GET", f"{address.path}/api/2.0/mlflow/registered-models/alias?{query}")
        answer = connection.getresponse()
        body = msgspec.json.decode(answer.read())
    except (OSError, http.client.HTTPException, msgspec.MsgspecError):
        return UNKNOWN
    finally:
        connection.close()
    return str(body["model_version"]["version"]) if answer.status == 200 else None
