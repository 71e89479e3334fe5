"""A limit of the online store's Redis that a colleague set by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from pydantic import Field

from dojo.core.settings import Settings
from dojo.drills.faults.fault import FaultRefusedError, Injection, Receipt, WriteDown

if TYPE_CHECKING:
    from redis import Redis

MEGABYTE = 1024 * 1024

Policy = Literal["noeviction", "allkeys-lru"]


class StoreSetting(Injection):
    """Limits, relative to what the store uses now. Those left out stay as they are.

    A restart of Redis brings the shipped limits back. What was evicted stays lost.

    Attributes:
        memory_share: `maxmemory`, as a share of the used memory.
        memory_room: `maxmemory`, MB beyond the used memory.
        policy: `maxmemory-policy`.
        clients_room: `maxclients`, beyond those connected.
    """

    kind: Literal["store_setting"]
    memory_share: Annotated[float, Field(gt=0, lt=1)] | None = None
    memory_room: Annotated[float, Field(gt=0)] | None = None
    policy: Policy | None = None
    clients_room: Annotated[int, Field(gt=0)] | None = None

    def inject(self, settings: Settings, write_down: WriteDown) -> None:
        if settings.online_store == settings.redis:
            raise FaultRefusedError("the online store has no Redis of its own here")
        store = _connect(settings)
        wanted = self._wanted(cast("dict[str, Any]", store.info()))
        before = {name: _get(store, name) for name in wanted}
        write_down({"before": before, "set": wanted})
        for name, value in wanted.items():
            store.config_set(name, value)

    def undo(self, settings: Settings, receipt: Receipt) -> None:
        from redis.exceptions import ConnectionError as RedisIsAway

        store = _connect(settings)
        for name, value in receipt["set"].items():
            try:
                if _get(store, name) == value:
                    store.config_set(name, receipt["before"][name])
            except RedisIsAway:
                return  # it starts with its shipped limits

    def left(self, settings: Settings, receipt: Receipt) -> str:
        from redis.exceptions import ConnectionError as RedisIsAway

        store = _connect(settings)
        try:
            found = [name for name, value in receipt["set"].items() if _get(store, name) == value]
        except RedisIsAway:
            return ""
        return f"{', '.join(found)} of the online store" if found else ""

    def _wanted(self, info: dict[str, Any]) -> dict[str, str]:
        used, wanted = info["used_memory"], dict[str, str]()
        if self.memory_share is not None:
            wanted["maxmemory"] = str(int(used * self.memory_share))
        if self.memory_room is not None:
            wanted["maxmemory"] = str(int(used + self.memory_room * MEGABYTE))
        if self.policy is not None:
            wanted["maxmemory-policy"] = self.policy
        if self.clients_room is not None:
            wanted["maxclients"] = str(info["connected_clients"] + self.clients_room)
        return wanted


def _get(store: Redis, name: str) -> str:
    return str(cast("dict[str, Any]", store.config_get(name))[name])


def _connect(settings: Settings) -> Redis:
    from dojo.core.connections import connect_redis  # late: the list of drills needs none of it

    return connect_redis(settings.online_store)
