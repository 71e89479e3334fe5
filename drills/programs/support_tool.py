"""Keep what support agents look at, for finding out what went wrong with a session.

python support_tool.py redis://ADDRESS --debug
"""

import secrets
import sys
import time

import redis

SESSION_BYTES = 64_000
SESSIONS_A_SECOND = 40


def main() -> None:
    """Write sessions for good. A write that is refused is tried again."""
    client = redis.Redis.from_url(sys.argv[1], client_name="support-tool")
    while True:
        try:
            key = f"debug:session:{secrets.token_hex(8)}"
            client.set(key, secrets.token_bytes(SESSION_BYTES))
        except redis.RedisError:
            pass
        time.sleep(1 / SESSIONS_A_SECOND)


if __name__ == "__main__":
    main()
