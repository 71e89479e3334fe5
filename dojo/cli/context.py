"""What commands that change a champion or a route stand on: who and why, the world's time, and registry, routes and trail in one."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Annotated
from uuid import uuid4

import typer
from redis import Redis
from redis.exceptions import RedisError
from rich.markup import escape

from dojo.cli.output import err, errors_become_messages, fail
from dojo.core.connections import connect_redis, redis_address
from dojo.core.registry.errors import RegistryUnavailableError
from dojo.core.registry.promotion import Change, RoleChanges
from dojo.core.registry.versions import ModelRegistry
from dojo.core.settings import Settings, SettingsError, load_settings
from dojo.core.state.atomic import ConflictError
from dojo.core.state.audit import AuditTrail
from dojo.core.state.clock import ClockNotSetError, RedisWorldClock
from dojo.core.state.rollouts import Rollouts
from dojo.core.state.routes import InvalidRouteError, RouteTable

MLFLOW_NEXT_STEP = "Is MLflow running? dojo status"

ModelArgument = Annotated[str, typer.Argument(help="The model's name.", metavar="MODEL")]
Why = Annotated[str, typer.Option(help="The reason; it goes into the audit trail.", prompt="Why")]
Who = Annotated[str, typer.Option(help="Who decides; default: the user of this machine.", metavar="NAME")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]


@dataclass(frozen=True, slots=True)
class Desk:
    """Where a person changes things from."""

    settings: Settings
    redis: Redis

    @property
    def audit(self) -> AuditTrail:
        return AuditTrail(self.redis)

    @property
    def routes(self) -> RouteTable:
        return RouteTable(self.redis)

    @property
    def rollouts(self) -> Rollouts:
        return Rollouts(self.redis)

    def champions(self, registry: ModelRegistry) -> RoleChanges:
        return RoleChanges(registry, self.routes, self.audit)

    def change(self, who: str, why: str) -> Change:
        """A change as of the world's now. Refuses an empty reason."""
        if not why.strip():
            raise fail("--why is empty: say why, for whoever reads the audit trail", code=2)
        try:
            now = RedisWorldClock(self.redis).now()
        except ClockNotSetError as error:
            raise fail(str(error), "dojo data history") from error
        return Change(key=f"command:{uuid4().hex}", who=who or operating_system_user(), why=why.strip(), world_time=now)

    def refuse_during_a_rollout(self, model: str) -> None:
        """Only the controller moves roles and traffic of a model while one of its versions is being rolled out."""
        rollout = self.rollouts.get(model)
        if rollout is not None and rollout.active:
            raise fail(
                f"{model}: version {rollout.version} is being rolled out ({rollout.stage}), and its controller decides about traffic",
                f"end it first: dojo rollout abort {model}, then repeat this; dojo rollout show {model} says how it goes",
            )


@contextmanager
def desk() -> Iterator[Desk]:
    """A desk over a Redis that answers. Errors that a command may meet become messages."""
    with errors_become_messages(SettingsError):
        settings = load_settings()
    client = connect_redis(settings.redis)
    try:
        with errors_become_messages(InvalidRouteError), errors_become_messages(ConflictError, next_step="look again"):
            client.ping()
            yield Desk(settings, client)
    except RedisError as error:
        raise fail(f"Redis does not answer at {redis_address(settings.redis)}: {escape(str(error))}", "dojo up") from error
    finally:
        client.close()


def registry_of(settings: Settings) -> ModelRegistry:
    """Somebody waits at the terminal: it fails within seconds when MLflow is away."""
    return ModelRegistry(settings.mlflow, timeout_seconds=5, retries=1)


def mlflow_errors_become_messages() -> AbstractContextManager[None]:
    return errors_become_messages(RegistryUnavailableError, next_step=MLFLOW_NEXT_STEP)


def confirm(question: str, yes: bool) -> None:
    """Ask on stderr, so that stdout stays a script's; ends the command unless the answer is yes."""
    if yes:
        return
    err.print(escape(question), highlight=False, soft_wrap=True)
    if not typer.confirm("Do it?", err=True):
        raise typer.Exit(1)


def operating_system_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"uid {os.getuid()}"
