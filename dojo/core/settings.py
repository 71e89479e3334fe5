"""Settings: what differs between the embedded and the compose mode. Everything from the environment (`DOJO_*`).

Thresholds, windows and limits of a *model* are in its spec, not here. `docs/settings.md` lists these with their reasons and
is held to this file by a test.
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

# Processes that the stack can do without. airflow: 0.9 GB less, and the same work done in a process of our own. prometheus: with Alertmanager and
# the alert receiver, 0.2 GB less, and nobody is alerted.
Optional = Literal["airflow", "prometheus"]


class SettingsError(ValueError):
    """A `DOJO_*` variable is wrong; the message names it, what was found and what would be right."""


class Settings(BaseSettings):
    """One process' view of the environment. Build it with `load_settings` in a composition root and pass parts on."""

    model_config = SettingsConfigDict(
        env_prefix="DOJO_", env_ignore_empty=True, frozen=True, extra="ignore"
    )

    # Where things are
    home: Path = Field(
        default=Path(DEFAULT_HOME),
        description=(
            "Directory of everything the embedded mode keeps (lake, Redis AOF, MLflow, caches,"
            " logs). Deleting it is a fresh start. Private to the user who starts the stack,"
            " whatever the umask: `dojo up` takes other users' rights away and says so."
        ),
    )
    models_dir: Path = Field(
        default=Path("models"), description="Directory of the model specs, one YAML per model."
    )
    feature_modules: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description=(
            "Python modules with `VIEWS` and `SERVICES` that join the feature catalogue, separated"
            " by commas. A model's features need not live in feature_repo/. The same for every"
            " process."
        ),
    )

    # Ports: all on `host`, all in one block so that a taken port is easy to see.
    # `<name>_port` is the port of the process that dojo/stack/table.py calls <name>.
    host: str = Field(
        default=LOOPBACK,
        description=(
            "Address that servers bind to: an IPv4 address of this machine, 0.0.0.0 for all of"
            " them, or localhost. Loopback: nothing is authenticated yet."
        ),
    )
    publish_as: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description=(
            "Further names and addresses under which browsers reach MLflow's page, separated by"
            " commas, such as `shop.lan,192.168.1.20`; `*` stands for any text in one. Under a name"
            " that is neither localhost nor DOJO_HOST nor here it answers 403, so that a foreign"
            " page in a browser cannot act as one of ours. Containers: PUBLISH_AS."
        ),
    )
    gateway_port: Port = Field(
        default=8000, description="Port of the gateway (predictions, /docs, /metrics)."
    )
    redis_port: Port = Field(
        default=6390, description="Port of the embedded Redis; not 6379, which is often taken."
    )
    mlflow_port: Port = Field(
        default=5001,
        description="Port of the embedded MLflow; not 5000, which AirPlay takes on macOS.",
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
            "Port of the alert receiver: where Alertmanager's chat and pager messages arrive."
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
        description="Port of the embedded Airflow (UI and API); not 8080, which is often taken.",
    )

    # Where other servers are; empty means the embedded ones
    peer_hosts: str = Field(
        default="",
        description=(
            "Host under which a process of the platform finds another one, with `{name}` for that"
            " one's name: `{name}` where each has a container (compose); empty: all run on this"
            " machine, at DOJO_HOST."
        ),
    )
    redis_url: str = Field(
        default="",
        description=(
            "Redis of the event log and the clock, `redis://host:port/db`; empty: the embedded one."
        ),
    )
    online_store_url: str = Field(
        default="", description="Redis of Feast's online store; empty: the same as DOJO_REDIS_URL."
    )
    mlflow_url: str = Field(
        default="",
        description="MLflow tracking server, `http://host:port`; empty: the embedded one.",
    )
    airflow_url: str = Field(
        default="",
        description=(
            "Airflow's API server, `http://user:password@host:port`; empty: the embedded one."
        ),
    )
    without: Annotated[tuple[Optional, ...], NoDecode] = Field(
        default=(),
        description=(
            "Optional processes that the embedded stack does without, separated by commas:"
            " `airflow`, whose work then goes on in the trainer process; `prometheus`, with"
            " Alertmanager and the alert receiver, without which nobody is alerted. `dojo up"
            " --without` sets it."
        ),
    )

    seal_key: str = Field(
        default="",
        repr=False,
        description=(
            "Key that the platform seals registered versions with, so that a changed hash in MLflow"
            " is found. Every process of one platform needs the same, MLflow's none. Empty: made at"
            " first use in `<home>/keys/seal`. With another key every version must be sealed again:"
            " `dojo models seal`."
        ),
    )

    # The world
    world_source: Literal["synthetic", "replay"] = Field(
        default="synthetic",
        description=(
            "Where transactions come from: generated from a seed, or replayed from an imported"
            " file."
        ),
    )
    replay_dataset: Path | None = Field(
        default=None, description="Imported Parquet file to replay (what `dojo data import` wrote)."
    )
    seed: int = Field(
        default=7,
        ge=0,
        description=(
            "Seed of the synthetic world and of label delays: the same seed gives the same world."
        ),
    )
    history_days: int = Field(
        default=100,
        ge=45,
        le=1000,
        description=(
            "World days of history before live traffic, days. 90 to train on, and the label delay"
            " (7) whose labels are still out; a shorter replay file uses what it has."
        ),
    )
    speed: float = Field(
        default=60.0,
        gt=0,
        le=86400,
        description=(
            "World seconds per wall second once live. 60: a world hour a minute; the demo uses"
            " more."
        ),
    )
    world_runs_on_seconds: float = Field(
        default=5.0,
        ge=2,
        le=60,
        description=(
            "How long world time runs on without its simulator, wall seconds. Then it stands still,"
            " so that a machine that slept or a stack that was stopped makes no leap. 5: longer"
            " than a busy machine's hesitation, and at the demo's speed the simulator catches up in"
            " as long. At least 2: readers look at the clock every second."
        ),
    )
    synthetic_customers: int = Field(
        default=5000,
        ge=50,
        description="Customers in the synthetic world; each pays about twice a day.",
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
            "World day from which fraudsters have new ways (bust-outs at merchants in on it). Seven"
            " weeks before the synthetic world's live traffic begins: a version trained before it"
            " has never seen them, one trained now has. A day after the world's end: never."
        ),
    )

    # Event log
    stream_max_length: int = Field(
        default=200_000,
        ge=1000,
        description=(
            "Messages kept per stream. At about 1 kB each it bounds Redis' memory near 600 MB; a"
            " consumer that is away for longer loses the oldest."
        ),
    )

    # Gateway
    max_in_flight: int = Field(
        default=250,
        ge=1,
        description=(
            "Requests that one gateway process answers at a time; a new one beyond it gets 503 at"
            " once, and the others keep their latency. By Little's law, 250 at 2,500 requests a"
            " second are answered within 100 ms."
        ),
    )
    time_tolerance_seconds: float = Field(
        default=300.0,
        ge=0,
        allow_inf_nan=False,
        description=(
            "How far the time that a caller sends may be from the world's now, world seconds;"
            " beyond it 422. 300 covers a caller's queue and its clock, and is a twelfth of the"
            " shortest feature window, an hour, which a false time would empty."
        ),
    )
    time_key: str = Field(
        default="",
        repr=False,
        description=(
            "Key of callers that may send any time, as `Authorization: Bearer KEY`: the simulator,"
            " which catches up after an outage, and replays. Empty: made at first use in"
            " `<home>/keys/time`. Who has it can choose a model's features."
        ),
    )
    max_body_bytes: int = Field(
        default=1_048_576,
        ge=1024,
        description=(
            "Largest request body, bytes; above it 413. 1 MiB is far above the 1,000 instances that"
            " one request may hold, and small beside a process' memory."
        ),
    )
    spool_max_bytes: int = Field(
        default=268_435_456,
        ge=1_048_576,
        description=(
            "Disk for prediction events while Redis is away, bytes; beyond it events are dropped"
            " and counted. 256 MiB is about 15 minutes at 250 req/s."
        ),
    )
    order_deadline_seconds: float = Field(
        default=7200.0,
        gt=0,
        allow_inf_nan=False,
        description="How long a work order may wait to begin, a paused DAG included, wall seconds; then it fails and its owner is told. Two retrainings before it take 5,400 at most.",
    )
    registry_poll_seconds: float = Field(
        default=2.0,
        gt=0,
        allow_inf_nan=False,
        description="How often the gateway asks MLflow who the champion is, seconds.",
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

    @field_validator("without", "feature_modules", "publish_as", mode="before")
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
        return self.online_store_url or self.redis

    @property
    def mlflow(self) -> str:
        return self.mlflow_url or f"http://{self.own_host}:{self.mlflow_port}"

    @property
    def own_host(self) -> str:
        """Where servers of this machine are asked. One that listens everywhere is on loopback too."""
        return LOOPBACK if self.host == EVERY_ADDRESS else self.host

    def peer(self, name: str) -> str:
        """The host of a process of the platform."""
        return self.peer_hosts.format(name=name) or self.own_host

    def port_of(self, name: str) -> int:
        """The port of a process: of its field `<name>_port`."""
        return int(getattr(self, f"{name}_port"))

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

    Proxies are put out of action here: a process knows no server before this call.

    Raises:
        SettingsError: one line per wrong or unknown variable.
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


def variable(field: str) -> str:
    """The environment variable of a field of `Settings`."""
    return f"DOJO_{field.upper()}"


VARIABLES = frozenset(variable(field) for field in Settings.model_fields)


# Settings of earlier versions: each is refused with its new name, so that a value is never ignored.
RENAMED = {"DOJO_RETRAINER_PORT": "DOJO_TRAINER_PORT"}


def _unknown(name: str) -> str:
    if name in RENAMED:
        return f"{name}: renamed, set {RENAMED[name]} instead"
    similar = difflib.get_close_matches(name, VARIABLES, n=1)
    return f"{name}: no such setting" + (
        f"; did you mean {similar[0]}?" if similar else " (docs/settings.md lists them)"
    )


def markdown_table() -> str:
    """Every variable with its default and its meaning, unit and reason, as docs/settings.md shows them."""
    rows = ["| variable | default | meaning, unit and reason |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = "(none)" if field.default in (None, "", ()) else f"`{field.default}`"
        rows.append(f"| `{variable(name)}` | {default} | {field.description} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.stdout.write(markdown_table())
