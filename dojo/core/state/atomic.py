"""Check, then write, in one step that Redis runs whole.

It is the one script behind every compare-and-set of the platform.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from redis import Redis

Command = tuple[str | bytes | float, ...]  # as redis-cli takes it: ("SET", key, content)
Check = tuple[Command, bytes]  # a read and its expected answer, b"" where nothing is stored

# ARGV: the number of checks, each check as expected answer and command, then the writes.
# A command is its length and its words.
# Returns 0, or the number of the first check that failed. Then nothing was written.
_CHECK_AND_WRITE = """
local at = 0
local function word()
    at = at + 1
    return ARGV[at]
end
local function command()
    local words = {}
    for position = 1, tonumber(word()) do words[position] = word() end
    return unpack(words)
end
for number = 1, tonumber(word()) do
    local expected = word()
    if (redis.call(command()) or '') ~= expected then return number end
end
while at < #ARGV do redis.call(command()) end
return 0
"""


class ConflictError(RuntimeError):
    """Another process changed a value since it was read. Read it again and decide again."""


def write_if(redis: Redis, checks: Sequence[Check], writes: Sequence[Command]) -> int | None:
    """Run all writes if every check holds.

    The keys are not declared to Redis, because the platform's Redis is one server, not a cluster.

    Returns:
        None when everything was written, else the position of the first check that failed.

    Raises:
        redis.RedisError: Redis is out of reach, and may have written or not.
    """
    words: list[str | bytes | float] = [len(checks)]
    for command, expected in checks:
        words += expected, len(command), *command
    for command in writes:
        words += len(command), *command
    failed = cast("int", redis.eval(_CHECK_AND_WRITE, 0, *words))
    return failed - 1 if failed else None
