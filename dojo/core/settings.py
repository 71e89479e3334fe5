"""Settings: what differs between the embedded and the compose mode.

All of them come from the environment (`DOJO_*`). Thresholds, windows and limits of a *model* are in
its spec, not here. `docs/settings.md` lists the settings with their reasons. A test holds it to
this file.
"""

from __future__ import annotations

import difflib
import os
import sys
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from dojo import DEFAULT_HOME
from dojo.core.addresses import (
    EVERY_ADDRESS,
    LOOPBACK,
    ask_directly,
    require_bindable,
    require_url,
    without_password,
)

Port = Annotated[int, Field(ge=1024, le=65535)]

# Processes that the stack can do without. Without `airflow` it takes 0.9 GB less, and the same work
# is done in a process of our own. Without `prometheus`, and with it Alertmanager and the alert
# receiver, it takes 0.2 GB less, and sends no alerts.
Optional = Literal["airflow", "prometheus"]


class SettingsError(ValueError):
    """A `DOJO_*` variable is wrong. The message names it, and gives the found and a right value."""


ALL_MODELS = "all"  # in DOJO_MODELS


class Settings(BaseSettings):
    """One process' view of the environment.

    Build it with `load_settings` in a composition root and pass parts on.
    """

    model_config = SettingsConfigDict(
        env_prefix="DOJO_", env_ignore_empty=True, frozen=True, extra="ignore"
    )

    # Where things are
    home: Path = Field(
        default=Path(DEFAULT_HOME),
        description=(
            "Directory of everything that the embedded mode keeps (lake, Redis AOF, MLflow, caches,"
            " logs). Deleting it is a fresh start. Only the user who starts the stack can read it,"
            " with any umask. `dojo up` takes other users' rights away and says so."
        ),
    )
    models_dir: Path = Field(
        default=Path("models"), description="Directory of the model specs, one YAML per model."
    )
    models: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description=(
            "Models that run, separated by commas, or `all`. By default all models run that are not"
            " `optional`. Every process needs the same value."
        ),
    )
    feature_modules: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description=(
            "Python modules with `VIEWS` and `SERVICES` that join the feature catalogue, separated"
            " by commas. A model's features need not live in feature_repo/. Every process needs"
            " the same value."
        ),
    )

    # Ports: all on `host`, all in one block so that a taken port is easy to see.
    # `<name>_port` is the port of the process that dojo/stack/table.py calls <name>.
    host: str = Field(
        default=LOOPBACK,
        description=(
            "Address that servers bind to. It is an IPv4 address of this machine, 0.0.0.0 for all"
            " of them, or localhost. The default is loopback, because nothing is authenticated yet."
        ),
    )
    publish_as: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description=(
            "Further names and addresses under which browsers reach MLflow's page, separated by"
            " commas, such as `shop.lan,192.168.1.20`. `*` stands for any text in a name."
            " `localhost` and DOJO_HOST are always allowed. Under any other name the page answers"
            " 403, so that a foreign page in a browser cannot act as one of ours. In containers"
            " PUBLISH_AS sets it."
        ),
    )
    gateway_port: Port = Field(
        default=8000, description="Port of the gateway (predictions, /docs, /metrics)."
    )
    gateway_grpc_port: Port = Field(
        default=8001, description="Port of the gateway's gRPC (Open Inference Protocol V2)."
    )
    redis_port: Port = Field(
        default=6390,
        description=(
            "Port of the embedded Redis of the event log and the clock. Not 6379, which is often"
            " taken."
        ),
    )
    redis_online_port: Port = Field(
        default=6391, description="Port of the embedded Redis of Feast's online store."
    )
    mlflow_port: Port = Field(
        default=5001,
        description="Port of the embedded MLflow. Not 5000, which AirPlay takes on macOS.",
    )
    simulator_port: Port = Field(
        default=8101, description="Port of the simulator's /healthz and /metrics."
    )
    recorder_port: Port = Field(
        default=8102, description="Port of the recorder's /healthz and /metrics."
    )
    streamer_port: Port = Field(
        default=8103, description="Port of the streamer's /healthz and /metrics."
    )
    materializer_port: Port = Field(
        default=8104, description="Port of the feature materializer's /healthz and /metrics."
    )
    rollout_port: Port = Field(
        default=8105, description="Port of the rollout controller's /healthz and /metrics."
    )
    trainer_port: Port = Field(
        default=8106, description="Port of the trainer's /healthz and /metrics."
    )
    monitor_port: Port = Field(
        default=8107, description="Port of the monitor's /healthz and /metrics."
    )
    responder_port: Port = Field(
        default=8108, description="Port of the responder's /healthz and /metrics."
    )
    receiver_port: Port = Field(
        default=8109,
        description=(
            "Port of the alert receiver, where Alertmanager's chat and pager messages arrive."
        ),
    )
    prometheus_port: Port = Field(
        default=9090, description="Port of the embedded Prometheus, where it is installed."
    )
    alertmanager_port: Port = Field(
        default=9093, description="Port of the embedded Alertmanager, where it is installed."
    )
    airflow_port: Port = Field(
        default=8088,
        description="Port of the embedded Airflow (UI and API). Not 8080, which is often taken.",
    )

    # Where other servers are. Empty means the embedded ones.
    peer_hosts: str = Field(
        default="",
        description=(
            "Host under which a process of the platform finds another one. `{name}` stands for the"
            " other one's name. Use `{name}` alone where each has a container (compose). Empty"
            " means that all run on this machine, at DOJO_HOST."
        ),
    )
    redis_url: str = Field(
        default="",
        description=(
            "Redis of the event log and the clock, `redis://host:port/db`. Empty means the embedded"
            " one."
        ),
    )
    online_store_url: str = Field(
        default="",
        description=(
            "Redis of Feast's online store. Empty means the same as DOJO_REDIS_URL. The embedded"
            " one if both are empty."
        ),
    )
    mlflow_url: str = Field(
        default="",
        description="MLflow tracking server, `http://host:port`. Empty means the embedded one.",
    )
    airflow_url: str = Field(
        default="",
        description=(
            "Airflow's API server, `http://user:password@host:port`. Empty means the embedded one."
        ),
    )
    without: Annotated[tuple[Optional, ...], NoDecode] = Field(
        default=(),
        description=(
            "Optional processes that the embedded stack does without, separated by commas. Without"
            " `airflow`, its work goes on in the trainer process. Without `prometheus`,"
            " Alertmanager and the alert receiver are left out too, and no alert is sent. `dojo up"
            " --without` sets it."
        ),
    )

    seal_key: str = Field(
        default="",
        repr=False,
        description=(
            "Key that the platform seals registered versions with, so that a changed hash in MLflow"
            " is found. Every process of one platform needs the same key. MLflow must not have it."
            " Empty means that it is made at first use in `<home>/keys/seal`. With another key"
            " every version must be sealed again: `dojo models seal`."
        ),
    )

    # The world
    world_source: Literal["synthetic", "replay"] = Field(
        default="synthetic",
        description=(
            "Where transactions come from. They are generated from a seed (`synthetic`), or"
            " replayed from an imported file (`replay`)."
        ),
    )
    replay_dataset: Path | None = Field(
        default=None,
        description="Imported Parquet file to replay, which `dojo data import` has written.",
    )
    seed: int = Field(
        default=7,
        ge=0,
        description=(
            "Seed of the synthetic world and of label delays. The same seed gives the same world."
        ),
    )
    history_days: int = Field(
        default=100,
        ge=45,
        le=1000,
        description=(
            "World days of history before live traffic, days. 90 are for training. The rest covers"
            " the label delay (7), whose labels are still out. A shorter replay file uses all of"
            " its days."
        ),
    )
    speed: float = Field(
        default=60.0,
        gt=0,
        le=86400,
        description=(
            "World seconds per wall second once live. At 60 a world hour takes a minute. The demo"
            " uses more."
        ),
    )
    world_runs_on_seconds: float = Field(
        default=5.0,
        ge=2,
        le=60,
        description=(
            "How long world time runs on without its simulator, wall seconds. Then it stands still,"
            " so that a machine that slept or a stack that was stopped makes no leap. 5 is longer"
            " than a busy machine's hesitation. At the demo's speed the simulator catches up in the"
            " same time. At least 2, because readers look at the clock every second."
        ),
    )
    decisions: Literal["none", "decline", "review"] = Field(
        default="none",
        description=(
            "What the shop does about flagged payments. `none` lets them pass, so that every"
            " payment gets a label. `decline` declines them. `review` gives them to reviewers, and"
            " declines what is beyond their capacity. A declined payment never gets a label."
            " With both of these, flagged credits are refused, and half of the flagged members get"
            " an offer."
        ),
    )
    reviews_per_day: int = Field(
        default=60,
        ge=0,
        le=100_000,
        description=(
            "Flagged payments that reviewers look at, per world day. A reviewer takes 300 seconds"
            " each, so 60 are five hours of work. A town of 5,000 customers has 150 to 250 flagged"
            " payments a day."
        ),
    )
    release_share: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description=(
            "Share of flagged payments and credits that pass by chance, a fraction. Their labels"
            " stand for all flagged ones. 0.05 are about ten payments a day, and each released"
            " fraud costs its amount. At 0 nothing tells whether flagged payments were fraud."
        ),
    )
    synthetic_customers: int = Field(
        default=5000,
        ge=50,
        description="Customers in the synthetic world. Each pays about twice a day.",
    )
    synthetic_merchants: int = Field(
        default=5000, ge=20, description="Merchants in the synthetic world."
    )
    synthetic_fraud_rate: float = Field(
        default=0.015,
        gt=0,
        lt=0.2,
        description=(
            "Share of fraudulent transactions in the synthetic world, a fraction. 0.015 lies inside"
            " the 1-5 % that D1.1 checks for."
        ),
    )
    synthetic_fraud_shift: date = Field(
        default=date(2024, 11, 18),
        description=(
            "World day on which fraudsters change their method (bust-outs at merchants that take"
            " part in the fraud). It lies seven weeks before the synthetic world's live traffic"
            " begins. A version trained before it has never seen the new method. A version trained"
            " now has. To switch this off, set a day after the world's end."
        ),
    )

    # Event log
    stream_max_length: int = Field(
        default=200_000,
        ge=1000,
        description=(
            "Messages kept per stream. At about 1 kB each it bounds Redis' memory near 600 MB. A"
            " consumer that is away for longer loses the oldest messages."
        ),
    )

    # Gateway
    gateway_workers: int = Field(
        default=1,
        ge=1,
        le=64,
        description=(
            "Processes that answer the gateway's requests. All of them serve both ports. One core"
            " serves the demo, so 1 is enough there. More than the free cores bring nothing. Two"
            " and their parent take 0.38 GB, and one process takes 0.17."
        ),
    )
    max_in_flight: int = Field(
        default=250,
        ge=1,
        description=(
            "Requests that the gateway answers at a time. A further request gets 503 at once, and"
            " the others keep their latency. By Little's law, 250 at 2,500 requests a second are"
            " answered within 100 ms. Of several workers each takes an equal part, rounded up."
        ),
    )
    standard_room: float = Field(
        default=0.8,
        gt=0,
        le=1,
        description=(
            "The gateway refuses models of the latency class `standard` when requests of all"
            " models together fill this fraction of DOJO_MAX_IN_FLIGHT. The last fifth is for"
            " `fast` models, because a customer waits for their answers."
        ),
    )
    batch_room: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description=(
            "The fraction for the latency class `batch`, as DOJO_STANDARD_ROOM is for `standard`."
            " Its callers can ask again later,"
            " so half of the gateway stays free for the others."
        ),
    )
    slow_scoring_seconds: float = Field(
        default=0.005,
        gt=0,
        le=60,
        description=(
            "A version that takes longer for one row, or for a batch of 64, is scored in a process"
            " of its own. Measured when the gateway loads it, seconds. Requests of all models share"
            " one event loop, and 5 ms is a tenth of the 50 ms that a fast model promises. LightGBM"
            " with 200 trees takes 0.1 ms a batch. 60 keeps every version in the gateway's process."
        ),
    )
    time_tolerance_seconds: float = Field(
        default=300.0,
        ge=0,
        allow_inf_nan=False,
        description=(
            "How far the time that a caller sends may be from the world's now, world seconds."
            " Beyond it the gateway answers 422. 300 covers a caller's queue and its clock. It is a"
            " twelfth of the shortest feature window, an hour, which a false time would empty."
        ),
    )
    time_key: str = Field(
        default="",
        repr=False,
        description=(
            "Key of callers that may send any time, as `Authorization: Bearer KEY`. These are the"
            " simulator, which catches up after an outage, and replays. Empty means that it is made"
            " at first use in `<home>/keys/time`. A holder of the key can choose a model's"
            " features."
        ),
    )
    max_body_bytes: int = Field(
        default=1_048_576,
        ge=1024,
        description=(
            "Largest request body, bytes. Above it the gateway answers 413. 1 MiB is far above the"
            " 1,000 instances that one request may hold, and small beside a process' memory."
        ),
    )
    spool_max_bytes: int = Field(
        default=268_435_456,
        ge=1_048_576,
        description=(
            "Disk for prediction events while Redis is away, bytes. Beyond it events are dropped"
            " and counted. 256 MiB is about 15 minutes at 250 req/s. Of several workers each takes"
            " an equal part."
        ),
    )
    order_deadline_seconds: float = Field(
        default=7200.0,
        gt=0,
        allow_inf_nan=False,
        description=(
            "Time that a work order may wait to begin, a paused DAG included, wall seconds. Then it"
            " fails, and its owner is told. Two retrainings before it take 5,400 at most."
        ),
    )
    core_hour_price: float = Field(
        default=0.05,
        gt=0,
        allow_inf_nan=False,
        description=(
            "Price of one core for an hour, US dollars. `dojo compare` turns processor time into"
            " cost with it. 0.05 is about a cloud's list price of a general machine per core."
        ),
    )
    registry_poll_seconds: float = Field(
        default=2.0,
        gt=0,
        allow_inf_nan=False,
        description="How often the gateway asks MLflow for the champion, seconds.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe log line that is written."
    )

    @field_validator("host")
    @classmethod
    def _is_bindable(cls, value: str) -> str:
        return require_bindable(value)

    @field_validator("redis_url", "online_store_url")
    @classmethod
    def _is_a_redis_url(cls, value: str) -> str:
        return require_url(value, ("redis", "rediss"))

    @field_validator("mlflow_url", "airflow_url")
    @classmethod
    def _is_an_http_url(cls, value: str) -> str:
        return require_url(value, ("http", "https"))

    @field_validator("peer_hosts")
    @classmethod
    def _is_a_pattern(cls, value: str) -> str:
        try:
            named = value.format(name="gateway")
        except (LookupError, ValueError):
            named = ""
        if value and "gateway" not in named:
            raise ValueError("expected a host with `{name}` in it, as in `{name}` or `dojo-{name}`")
        return value

    @field_validator("without", "models", "feature_modules", "publish_as", mode="before")
    @classmethod
    def _separated_by_commas(cls, value: object) -> object:
        return (
            tuple(name.strip() for name in value.split(",") if name.strip())
            if isinstance(value, str)
            else value
        )

    @model_validator(mode="after")
    def _replay_needs_a_file(self) -> Settings:
        if self.world_source == "replay" and self.replay_dataset is None:
            raise ValueError(
                "DOJO_WORLD_SOURCE=replay needs DOJO_REPLAY_DATASET: import a file first (dojo data"
                " import FILE)"
            )
        return self

    # Derived addresses and directories
    @property
    def redis(self) -> str:
        return self.redis_url or f"redis://{self.own_host}:{self.redis_port}/0"

    @property
    def online_store(self) -> str:
        embedded = f"redis://{self.own_host}:{self.redis_online_port}/0"
        return self.online_store_url or self.redis_url or embedded

    @property
    def mlflow(self) -> str:
        return self.mlflow_url or f"http://{self.own_host}:{self.mlflow_port}"

    @property
    def own_host(self) -> str:
        """Host of servers of this machine. A server that listens everywhere is on loopback too."""
        return LOOPBACK if self.host == EVERY_ADDRESS else self.host

    def peer(self, name: str) -> str:
        """The host of a process of the platform."""
        return self.peer_hosts.format(name=name) or self.own_host

    def port_of(self, name: str) -> int:
        """The port of a process, from its field `<name>_port`."""
        return int(getattr(self, port_field(name)))

    def url_of(self, name: str) -> str:
        """Where a process of the platform answers HTTP."""
        return f"http://{self.peer(name)}:{self.port_of(name)}"

    @property
    def gateway_url(self) -> str:
        return self.url_of("gateway")

    @property
    def airflow_home(self) -> Path:
        return self.home / "airflow"

    @property
    def lake_dir(self) -> Path:
        return self.home / "lake"

    @property
    def offline_dir(self) -> Path:
        """Feast's offline store: feature values by entity and time."""
        return self.home / "features"

    @property
    def imports_dir(self) -> Path:
        return self.home / "imports"


def load_settings(**overrides: object) -> Settings:
    """Settings from the environment, `overrides` first.

    Proxies are switched off here, because a process knows no server before this call.

    Raises:
        SettingsError: One line per wrong or unknown variable.
    """
    ask_directly(os.environ)
    faults = [
        _unknown(name)
        for name in sorted(os.environ)
        if name.startswith("DOJO_") and name not in VARIABLES
    ]
    try:
        settings = Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        faults += [
            (
                f"{variable(str(e['loc'][0]))}: {said} (found {without_password(e['input'])!r})"
                if e["loc"]
                else said
            )
            for e in error.errors()
            for said in [e["msg"].removeprefix("Value error, ")]
        ]
    if faults:
        raise SettingsError("wrong settings:\n  " + "\n  ".join(faults))
    return settings


def port_field(process: str) -> str:
    """The field of `Settings` with a process' port."""
    return f"{process.replace('-', '_')}_port"


def variable(field: str) -> str:
    """The environment variable of a field of `Settings`."""
    return f"DOJO_{field.upper()}"


VARIABLES = frozenset(variable(field) for field in Settings.model_fields)


# Settings of earlier versions. Each is refused with its new name, so that a value is never ignored.
RENAMED = {"DOJO_RETRAINER_PORT": "DOJO_TRAINER_PORT"}


def _unknown(name: str) -> str:
    if name in RENAMED:
        return f"{name}: renamed, set {RENAMED[name]} instead"
    similar = difflib.get_close_matches(name, VARIABLES, n=1)
    return f"{name}: no such setting" + (
        f"; did you mean {similar[0]}?" if similar else " (docs/settings.md lists them)"
    )


def markdown_table() -> str:
    """Every variable with its default and its meaning, unit and reason, for docs/settings.md."""
    rows = ["| variable | default | meaning, unit and reason |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = "(none)" if field.default in (None, "", ()) else f"`{field.default}`"
        rows.append(f"| `{variable(name)}` | {default} | {field.description} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.stdout.write(markdown_table())
