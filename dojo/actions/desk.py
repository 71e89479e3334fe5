"""A person's access for changes: the platform's parts, each opened at its first use."""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Self
from uuid import uuid4

from dojo.actions.errors import RolloutDecidesError, UnknownModelError, WrongCallError

if TYPE_CHECKING:
    from redis import Redis

    from dojo.core.registry.promotion import Change, RoleChanges
    from dojo.core.registry.versions import ModelRegistry
    from dojo.core.settings import Settings
    from dojo.core.spec.schema import ModelSpec
    from dojo.core.state.audit import AuditTrail
    from dojo.core.state.clock import RedisWorldClock
    from dojo.core.state.rollouts import Rollouts
    from dojo.core.state.routes import RouteTable

# A person waits for the answer, so a registry that is away must show within seconds.
REGISTRY_TIMEOUT_SECONDS = 5


class Desk:
    """The platform as actions and commands see it.

    Imports are as late as the parts, so a command that reads the registry does not pay for Redis.
    """

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The desk of these settings. Without them, those of the environment count."""
        desk = cls()
        desk.settings = settings
        return desk

    @cached_property
    def settings(self) -> Settings:
        """Raises SettingsError."""
        from dojo.core.settings import load_settings

        return load_settings()

    @cached_property
    def redis(self) -> Redis:
        """A client whose server answers. Raises redis.RedisError."""
        from dojo.core.connections import connect_redis

        client = connect_redis(self.settings.redis)
        client.ping()  # the clock takes an absent Redis for a world without time
        return client

    @cached_property
    def clock(self) -> RedisWorldClock:
        from dojo.core.state.clock import RedisWorldClock

        return RedisWorldClock(self.redis)

    @cached_property
    def registry(self) -> ModelRegistry:
        from dojo.core.registry.versions import ModelRegistry

        return ModelRegistry.of(self.settings, timeout_seconds=REGISTRY_TIMEOUT_SECONDS, retries=1)

    @cached_property
    def routes(self) -> RouteTable:
        from dojo.core.state.routes import RouteTable

        return RouteTable(self.redis)

    @cached_property
    def rollouts(self) -> Rollouts:
        from dojo.core.state.rollouts import Rollouts

        return Rollouts(self.redis)

    @cached_property
    def audit(self) -> AuditTrail:
        from dojo.core.state.audit import AuditTrail

        return AuditTrail(self.redis)

    @property
    def role_changes(self) -> RoleChanges:
        from dojo.core.registry.promotion import RoleChanges

        return RoleChanges(self.registry, self.routes, self.audit)

    @property
    def models(self) -> list[str]:
        """The names of the models that run, without reading their specs."""
        from dojo.core.spec.names import model_names

        return model_names(self.settings.models_dir, self.settings.models)

    def require_model(self, model: str) -> str:
        """Raises UnknownModelError."""
        if model not in self.models:
            known = ", ".join(self.models) or "none"
            raise UnknownModelError(
                f"no model {model}; there are {known}",
                f"each is a file in {self.settings.models_dir}",
            )
        return model

    def only_model(self) -> str:
        """The model of a platform with one model.

        Raises UnknownModelError: It has several, or none.
        """
        if len(self.models) != 1:
            known = ", ".join(self.models) or "none"
            raise UnknownModelError(
                f"say which model; there are {known}",
                f"each is a file in {self.settings.models_dir}",
            )
        return self.models[0]

    def spec(self, model: str) -> ModelSpec:
        """Raises UnknownModelError, SpecError."""
        from dojo.core.tasks.specs import load_spec

        return load_spec(self.settings.models_dir / f"{self.require_model(model)}.yaml")

    def owner(self, model: str) -> str:
        """A model's owner, also when its spec is wrong."""
        from dojo.core.spec.names import owner_of

        return owner_of(self.settings.models_dir, model)

    def right_specs(self) -> dict[str, ModelSpec]:
        """The specs of the models that run, without the wrong ones. Raises SpecError: None is."""
        from dojo.core.tasks.specs import load_right_specs

        return load_right_specs(self.settings.models_dir, self.settings.models).specs

    def now(self) -> datetime:
        """The world's time. Raises ClockNotSetError."""
        return self.clock.now()

    def now_if_set(self) -> datetime | None:
        """The world's time, None before the world has one."""
        return self.now() if self.clock.is_set() else None

    def change(self, who: str, why: str) -> Change:
        """A change as of the world's now. Raises WrongCallError, ClockNotSetError."""
        from dojo.core.registry.promotion import Change

        return Change(key=f"command:{uuid4().hex}", who=who, why=reason(why), world_time=self.now())

    def refuse_during_a_rollout(self, model: str) -> None:
        """Refuse while a version is rolled out. Then only the controller moves roles and traffic.

        Raises RolloutDecidesError.
        """
        rollout = self.rollouts.get(model)
        if rollout is not None and rollout.active:
            raise RolloutDecidesError(
                f"{model}: version {rollout.version} is being rolled out ({rollout.stage}), and its"
                " controller decides about traffic",
                f"end it first: dojo rollout abort {model}, then repeat this; dojo rollout show"
                f" {model} says how it goes",
            )


def reason(why: str) -> str:
    """The reason as it is recorded. Raises WrongCallError if it is empty."""
    if not why.strip():
        raise WrongCallError("--why is empty: give the reason, for the readers of the audit trail")
    return why.strip()
