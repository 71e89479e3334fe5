"""A role that a colleague moved in MLflow's own interface. Traffic follows the route, so it stays.

Only the platform's own promotion moves both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from dojo.core.settings import Settings
from dojo.core.spec.section import Text
from dojo.drills.faults.fault import FaultRefusedError, Injection, Receipt, WriteDown

if TYPE_CHECKING:
    from dojo.core.registry.versions import ModelRegistry
    from dojo.core.state.routes import Route

ALIAS = "champion"


class MovedAlias(Injection):
    """The champion's alias, moved to the newest other version.

    Attributes:
        model: The model.
    """

    kind: Literal["moved_alias"]
    model: Text

    def inject(self, settings: Settings, write_down: WriteDown) -> None:
        registry = _registry(settings)
        champion = registry.by_alias(self.model, ALIAS)
        others = [one for one in registry.versions(self.model) if one != champion]
        if champion is None or not others:
            raise FaultRefusedError(f"{self.model} has no second version")
        if _route(settings, self.model) is None:
            raise FaultRefusedError(f"{self.model} has no route, so traffic follows the alias")
        newest = max(others, key=lambda one: int(one.version))
        write_down({"from": champion.version, "to": newest.version})
        registry.set_alias(self.model, ALIAS, newest.version)

    def undo(self, settings: Settings, receipt: Receipt) -> None:
        if self.left(settings, receipt):
            _registry(settings).set_alias(self.model, ALIAS, receipt["from"])

    def left(self, settings: Settings, receipt: Receipt) -> str:
        """A role that traffic has followed is no leftover."""
        found = _registry(settings).by_alias(self.model, ALIAS)
        if found is None or found.version != receipt["to"]:
            return ""
        route = _route(settings, self.model)
        serves = {arm.version for arm in route.arms} if route else set()
        return "" if receipt["to"] in serves else f"the alias {ALIAS} of {self.model}"


def _registry(settings: Settings) -> ModelRegistry:
    from dojo.core.registry.versions import ModelRegistry  # late, as in the other faults

    return ModelRegistry.of(settings)


def _route(settings: Settings, model: str) -> Route | None:
    from dojo.core.connections import connect_redis
    from dojo.core.state.routes import RouteTable

    return RouteTable(connect_redis(settings.redis)).read(model).value
