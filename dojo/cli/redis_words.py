"""The words for a Redis that is away or refuses.

They say which limit was hit, where it is set, and how to go on.
"""

from __future__ import annotations

from typing import Any, cast
from urllib.parse import urlsplit

from redis.exceptions import AuthenticationError, BusyLoadingError, RedisError, ResponseError

from dojo.core.connections import NO_CONNECTION_LEFT, connect_redis, redis_address
from dojo.core.settings import Settings

# Parts of Redis' error texts. An error from a script has its cause only in its text, not in its
# type.
FULL = "command not allowed when used memory"  # behind an OOM only in the text of a script
DISK = "MISCONF"


def redis_words(error: RedisError, settings: Settings, url: str = "") -> tuple[str, str]:
    """The message of an error, and the next step.

    Args:
        url: The Redis that was asked. "" stands for one of the two, which the error then tells.
    """
    said = str(error)
    url = url or _find_speaker(said, settings)
    here = f"Redis at {redis_address(url)}"
    if FULL in said:
        found, twice = _memory(url)
        return f"{here} is full and refuses to write: {found}", _raise(
            "maxmemory", settings, url, twice
        )
    if NO_CONNECTION_LEFT in said:
        return f"{here} takes no more connections: `maxclients` is reached", _raise(
            "maxclients", settings, url
        )
    if DISK in said:
        process = _embedded_process(settings, url)
        where = f", files in {settings.home / process}" if process else ""
        return (
            f"{here} cannot write its files and refuses to write (its disk{where}): {said}",
            "free that disk, then repeat this",
        )
    match error:
        case AuthenticationError():
            return (
                f"{here} refuses the password: {said}",
                "DOJO_REDIS_URL=redis://:PASSWORD@HOST:PORT/0 sets it",
            )
        case BusyLoadingError():
            return f"{here} loads its file: {said}", "repeat this in some seconds"
        case ResponseError():
            return f"{here} refuses: {said}", "dojo redis info"
    return f"Redis does not answer at {redis_address(url)}: {said}", "dojo up"


def _find_speaker(said: str, settings: Settings) -> str:
    """The URL of the Redis that said an error.

    An unreachable one is named in the error. A full one is found by its memory. Otherwise it is the
    Redis of the event log and the clock.
    """
    online = settings.online_store
    if redis_address(online) in said or (FULL in said and _is_full(online)):
        return online
    return settings.redis


def _is_full(url: str) -> bool:
    try:
        with connect_redis(url) as redis:
            found = cast("dict[str, Any]", redis.info("memory"))
    except RedisError:
        return False
    return 0 < int(found["maxmemory"]) <= int(found["used_memory"])


def _memory(url: str) -> tuple[str, str]:
    """The used share of the limit with the place where it is set, and twice the limit in bytes.

    A full Redis still answers commands that only read.
    """
    try:
        with connect_redis(url) as redis:
            found = cast("dict[str, Any]", redis.info())
    except RedisError:
        return "`maxmemory` is reached", ""
    used, limit = found["used_memory_human"], found["maxmemory_human"]
    origin = found["config_file"] or "no file: its command line or CONFIG SET"
    return f"{used} are used of `maxmemory` {limit}, set in {origin}", str(
        2 * int(found["maxmemory"])
    )


def _raise(limit: str, settings: Settings, url: str, value: str = "") -> str:
    """How to raise a limit of Redis.

    Args:
        value: The new limit. "" leaves it to the reader.
    """
    if process := _embedded_process(settings, url):
        return (
            f"dojo restart {process} (the stack starts it without a `{limit}` of its own), then"
            " repeat this"
        )
    command, host = f"config set {limit} {value or 'MORE'}", urlsplit(url)
    if settings.peer_hosts:
        return f"docker compose exec {host.hostname} redis-cli {command}, then repeat this"
    return f"redis-cli -h {host.hostname} -p {host.port or 6379} {command}, then repeat this"


def _embedded_process(settings: Settings, url: str) -> str:
    """The process of the embedded stack that is the Redis at `url`. "" for a Redis elsewhere."""
    if settings.redis_url:
        return ""
    if url == settings.redis:
        return "redis"
    return "" if settings.online_store_url else "redis-online"
